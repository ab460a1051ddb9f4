"""What MkDocs is told beyond its configuration: generated pages, and files outside docs/.

A page may link to a file of the repository, such as ../claims/lrn.yaml, so that the link works
where the page is read as Markdown; in the site that file is carried along under the same path.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from reference import pages

ROOT = Path(__file__).parents[1]

# [text](../claims/lrn.yaml), ![text](../reports/report/figures/lrn-proxy-effect.svg), and at a
# page's end [name]: ../claims/lrn.yaml
_UPWARD = re.compile(r"(?:(?<=\]\()|(?<=\]: ))((?:\.\./)+[^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give each claim's findings a place in the navigation, in the order of their table."""
    found = next(entry["Findings"] for entry in config.nav or [] if "Findings" in entry)
    index = (ROOT / "docs" / found[0]).read_text(encoding="utf-8")
    names = re.findall(r"(?m)^\| \[.*\]\((\w+\.md)\)", index)
    found += [f"findings/{name}" for name in ("coverage.md", *names)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, and what pages link to outside docs/."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    for page in list(files.documentation_pages()):
        for link in _UPWARD.findall(page.content_string):
            found = _in_site(page.src_uri, link)
            if found is not None and files.get_file_from_path(found) is None:
                files.append(
                    File.generated(
                        config,
                        found,
                        abs_src_path=str(ROOT / found),
                        inclusion=InclusionLevel.NOT_IN_NAV,
                    )
                )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave docs/ to where the file lies in the site."""
    del config, files

    def moved(link: re.Match[str]) -> str:
        found = _in_site(page.file.src_uri, link[1])
        here = posixpath.dirname(page.file.src_uri)
        return link[1] if found is None else posixpath.relpath(found, here or ".")

    return _UPWARD.sub(moved, markdown)


def _in_site(page: str, link: str) -> str | None:
    """Where the site has a link's target; None where that is no file of the repository."""
    here = page if (ROOT / page).is_file() else f"docs/{page}"  # a page that was carried along
    target = posixpath.normpath(posixpath.join(posixpath.dirname(here), link))
    if target.startswith("..") or not (ROOT / target).is_file():
        return None
    return target.removeprefix("docs/")

"""The verdicts as JUnit XML, which every CI reads: a test case for each claim and scale."""

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from repro.report.page import FactPage, Page
from repro.text import NOT_RUN, estimate_text
from repro.verdict import Verdict, Word

__all__ = ["render_junit"]

# A claim that fails is a failure, an unsound measurement an error, and no answer no test.
_ELEMENT: dict[Word, str | None] = {
    "reproduced": None,
    "direction only": "failure",
    "gap only": "failure",
    "not reproduced": "failure",
    "inconclusive": "skipped",
    "not run": "skipped",
    "invalid": "error",
}


def render_junit(pages: Sequence[Page | FactPage]) -> str:
    """One suite; at smoke scale, which has no verdict, a case passes when anything ran."""
    cases = [_case(page) for page in pages]
    counts = Counter(child.tag for case in cases for child in case)
    suite = ET.Element(
        "testsuite",
        name="repro",
        tests=str(len(cases)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=f"{sum(float(case.attrib['time']) for case in cases):.3f}",
    )
    suite.extend(cases)
    whole = ET.Element("testsuites")
    whole.append(suite)
    ET.indent(whole)
    return ET.tostring(whole, encoding="unicode", xml_declaration=True) + "\n"


def _case(page: Page | FactPage) -> ET.Element:
    verdicts = page.verdicts if isinstance(page, Page) else (page.verdict,)
    case = ET.Element(
        "testcase",
        classname=f"repro.{verdicts[0].scale}",
        name=page.claim.id,
        time=f"{verdicts[0].seconds:.3f}",
    )
    smoke = isinstance(page, Page) and page.smoke
    if smoke:
        ran = bool(isinstance(page, Page) and page.evidence.trials)
        element, word, reason = None if ran else "skipped", NOT_RUN, "nothing was run"
    else:
        decided = next(verdict for verdict in verdicts if verdict.decides)
        element, word, reason = _ELEMENT[decided.word], decided.word, decided.reason
    if element:
        ET.SubElement(case, element, message=f"{word}: {reason}")
    lines = ["not evidence"] if smoke else [_line(verdict) for verdict in verdicts]
    ET.SubElement(case, "system-out").text = "\n".join(lines)
    return case


def _line(verdict: Verdict) -> str:
    return f"{verdict.recipe}: {verdict.word} ({verdict.reason}); {estimate_text(verdict.estimate)}"

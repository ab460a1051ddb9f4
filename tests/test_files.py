"""Files of strangers: only regular ones of a sensible size are read, and nothing is waited for."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro.files import parse_json, read_bytes, read_text, write_together


def test_a_regular_file_is_read_through_a_link(tmp_path: Path) -> None:
    """Links are followed: stores and images may lie behind them."""
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")

    assert read_bytes(tmp_path / "link", most=3) == b"abc"


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Nobody writes into it: a plain open would never return."""
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(OSError, match="not a regular file") as error:
        read_bytes(tmp_path / "fifo")
    assert str(tmp_path / "fifo") in str(error.value)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_link_to_a_device_is_refused(device: str, tmp_path: Path) -> None:
    """`/dev/zero` never ends."""
    (tmp_path / "link").symlink_to(device)

    with pytest.raises(OSError, match="not a regular file"):
        read_bytes(tmp_path / "link")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """As any open of it."""
    with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
        read_bytes(tmp_path)


def test_what_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    """A file of holes: a terabyte that takes no room on the disk."""
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(OSError, match="larger than 67108864 bytes"):
        read_bytes(tmp_path / "huge")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfa,b\r\n")

    assert read_text(tmp_path / "text") == "a,b\r\n"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_json_without_end_is_an_error_of_the_text(text: str) -> None:
    """Not of the interpreter's stack."""
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json(text)


def test_files_written_together_are_all_new_or_all_old(tmp_path: Path) -> None:
    """A part that cannot be made leaves nothing behind, neither changed nor half written."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("old")

    def parts() -> Iterator[str]:
        yield "half"
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        write_together({first: ["new"], second: parts()})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("first", "old")]

    write_together({first: ["ne", b"w"], second: ["too"]})
    assert (first.read_text(), second.read_text()) == ("new", "too")

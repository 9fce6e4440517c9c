"""Reading: regular files only, sizes before memory, records by their types."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leadline.errors import CheckpointError, DataError
from leadline.files.reading import as_record, open_regular, parse_record, read_bytes, read_record


class Point(msgspec.Struct):
    """Two numbers."""

    x: int
    y: float


def test_a_file_is_read_through_links_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link", DataError, limit=5) == b"12345"
    with pytest.raises(DataError, match="is too large: 5 bytes, where at most 4"):
        read_bytes(tmp_path / "link", DataError, limit=4)


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="is too large"):
        read_bytes(tmp_path / "sparse", DataError)


@pytest.mark.timeout(20)
def test_what_is_not_a_file_is_refused_and_nobody_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path, "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / "absent", "No such file"),
        (tmp_path / ("a" * 300), "File name too long"),
        (tmp_path / "a\0b", "null byte"),
    ):
        with pytest.raises(CheckpointError, match=said) as error:
            open_regular(path, CheckpointError)
        assert "\n" not in str(error.value)


BAD = {
    "nothing": b"",
    "not a number": b'{"x": 1, "y": NaN}',
    "too large a number": b'{"x": 1, "y": 1e999}',
    "deep": b"[" * 100_000,
    "another kind": b"[1, 2]",
    "another type": b'{"x": "1", "y": 2}',
    "a key that is missing": b'{"x": 1}',
    "half a letter": b'{"x": 1, "y": "\xff"}',
    "half a pair": b'{"x": 1, "y": "\\ud800"}',
    "more": b'{"x": 1, "y": 2} 3',
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_record_is_one_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(BAD[name])
    with pytest.raises(DataError, match=r"a\.json is damaged: ") as error:
        read_record(path, Point, DataError)
    assert len(str(error.value)) < 1000


def test_records_are_typed_and_keep_what_they_do_not_know() -> None:
    assert parse_record(b'{"x": 1, "y": 2, "z": 3}', Point, "here", DataError) == Point(1, 2.0)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for value in ({"x": 1}, {"x": 1.5, "y": 2.0}, deep):
        with pytest.raises(DataError, match=r"^here is damaged: "):
            as_record(value, Point, "here", DataError)
    while isinstance(deep, list):  # taken apart here, one by one
        deep = deep[0]

"""Which files of a folder are read: all that a listing shows, wherever links lead, and those that are not are named."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leadline.data import load
from leadline.data.folders import files_of, left_out
from leadline.errors import DataError

NAMES = st.sampled_from(["a", "b", ".hidden", "c.d"])
FILES = st.sampled_from(["0.png", "1.PNG", "2.txt", ".3.png", "noend"])


@settings(max_examples=20)
@given(paths=st.lists(st.tuples(st.lists(NAMES, max_size=3), FILES), min_size=1, max_size=12), linked=st.booleans())
def test_files_are_those_that_a_listing_shows(
    paths: list[tuple[list[str], str]], linked: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The witness walks the tree as it was made, and knows of no file system."""
    where = tmp_path_factory.mktemp("tree")
    root = where / "root"
    for folders, name in paths:
        path = root.joinpath(*folders, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    shown = {(*folders, name) for folders, name in paths if not any(part.startswith(".") for part in (*folders, name))}
    if linked:
        os.symlink(root, root / "again")  # leads back: it holds nothing new
        (where / "aside").mkdir()
        (where / "aside" / "x.png").touch()
        os.symlink(where / "aside", root / "link")
        shown.add(("link", "x.png"))
    assert files_of(root) == sorted(root.joinpath(*parts) for parts in shown)
    pictures = sorted(root.joinpath(*parts) for parts in shown if parts[-1].lower().endswith(".png"))
    assert files_of(root, {".png"}) == pictures
    said = left_out(root, {".png"}) or ""
    assert sum(int(word) for word in said.split() if word.isdecimal()) == len(shown) - len(pictures)


def test_what_is_left_out_is_said_and_a_table_of_labels_is_not(tmp_path: Path) -> None:
    for place in range(4):
        Image.fromarray(np.full((2, 2), place, np.uint8)).save(tmp_path / f"{place}.png")
    assert load(str(tmp_path)).read_as is None
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(f"{place}.png,{place % 2}" for place in range(4)))
    assert load(str(tmp_path), labels=str(table)).read_as is None
    for name in ("a.heic", "b.HEIC", "notes.md", "LICENSE"):
        (tmp_path / name).touch()
    said = "left out: 1 .csv, 2 .heic, 1 .md, 1 without a suffix"
    assert load(str(tmp_path)).read_as == said
    assert load(str(tmp_path), flatten=True).read_as == f"pixels row after row, {said}"


def test_a_folder_without_files_that_are_read_says_which_are(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").touch()
    with pytest.raises(DataError, match=r"no files that are read: .*\.flac.*\.png.*\.txt"):
        load(str(tmp_path))

"""Labels from sub-folders and from a CSV: every file has the class that it was given, whatever the division."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leadline.data import Dataset, load
from leadline.data.labels import labels_of, renumbered
from leadline.errors import DataError


def pictures(folder: Path, names: list[str]) -> Path:
    """Write a picture for each name, whose grey level tells which one it is."""
    for place, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2), place, np.uint8)).save(path)
    return folder


def told(data: Dataset, names: list[str]) -> dict[str, str]:
    """Return the class of every file by name, as the data set has it."""
    assert data.names is not None
    found = {}
    for part in data.parts:
        assert part.labels is not None
        for example, label in zip(part.examples, part.labels.tolist(), strict=True):
            found[names[int(example[0, 0])]] = data.names[label]
    return found


@settings(max_examples=20)
@given(
    folders=st.lists(st.sampled_from(["cat", "dog", "10", "9", "b/deep"]), min_size=4, max_size=12),
    seed=st.integers(0, 5),
)
def test_a_file_has_the_class_of_its_sub_folder(
    folders: list[str], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = [f"{folder}/{place:02}.png" for place, folder in enumerate(folders)]
    root = pictures(tmp_path_factory.mktemp("by-folder"), names)
    first = [name.split("/")[0] for name in names]
    if len(set(first)) == 1:  # one sub-folder tells nothing
        assert load(str(root), seed=seed).classes is None
    data = load(str(root), seed=seed, labels="folders")
    assert told(data, names) == dict(zip(names, first, strict=True))
    assert data.classes == len(set(first))
    numbers = [name for name in data.names or () if name.isdecimal()]
    assert numbers == sorted(numbers, key=int)
    assert load(str(root), seed=seed, labels="none").classes is None


def test_labels_from_a_csv_with_or_without_a_header(tmp_path: Path) -> None:
    names = [f"{place}.png" for place in range(6)]
    root = pictures(tmp_path / "p", names)
    table = tmp_path / "labels.csv"
    given_to = {name: "odd" if int(name[0]) % 2 else "even" for name in names}
    rows = "\n".join(f"{name},{label}" for name, label in given_to.items())
    for head in ("", "file,class\n", "\ufeff"):
        table.write_text(head + rows, encoding="utf-8")
        data = load(str(root), labels=str(table))
        assert told(data, names) == given_to
        assert data.names == ("even", "odd")
    table.write_text(rows.replace("3.png", "4.png"))
    with pytest.raises(DataError, match=r"gives 4\.png two classes"):
        load(str(root), labels=str(table))
    table.write_text("\n".join(rows.splitlines()[1:]))
    with pytest.raises(DataError, match=r"gives no class to 0\.png"):
        load(str(root), labels=str(table))
    table.write_text("0.png\n")
    with pytest.raises(DataError, match="row 1 has no second column"):
        load(str(root), labels=str(table))
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as a CSV"):
        load(str(root), labels=str(table))
    with pytest.raises(DataError, match="cannot be read"):
        load(str(root), labels=str(tmp_path / "absent.csv"))


def test_a_file_in_no_sub_folder_has_no_class(tmp_path: Path) -> None:
    root = pictures(tmp_path, ["a/0.png", "b/1.png", "2.png", "b/3.png"])
    assert load(str(root)).classes is None
    with pytest.raises(DataError, match=r"2\.png lies in no sub-folder"):
        load(str(root), labels="folders")
    assert labels_of(tmp_path, [], None) is None


def test_classes_of_other_data_are_numbered_as_the_known_ones() -> None:
    labels = torch.tensor([0, 1, 1])
    assert renumbered(labels, ("b", "c"), ("a", "b", "c")).tolist() == [1, 2, 2]
    with pytest.raises(DataError, match=r"'d' is none of .*: a, b"):
        renumbered(labels, ("a", "d"), ("a", "b"))


@settings(max_examples=40)
@given(
    classes=st.lists(st.sampled_from(["a", "b c", "7", 'q"q', "x;y"]), min_size=4, max_size=7),
    separator=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n"]),
    form=st.sampled_from(["bare", "header", "swapped", "wide"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    blank=st.booleans(),
    mark=st.sampled_from(["", "\ufeff"]),
    dot=st.sampled_from(["", "./"]),
    data=st.data(),
)
def test_a_csv_says_the_same_however_it_is_written(
    classes: list[str],
    separator: str,
    end: str,
    form: str,
    quoting: int,
    blank: bool,
    mark: str,
    dot: str,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    classes = [label if separator == "," else label.replace(";", "") for label in classes]
    folder = tmp_path_factory.mktemp("tables")
    paths = [folder / f"{place}.png" for place in range(len(classes))]
    rows = [[f"{dot}{path.name}", label] for path, label in zip(paths, classes, strict=True)]
    rows = data.draw(st.permutations([*rows, ["absent.png", "never"], rows[0]]))
    rows = {
        "bare": rows,
        "header": [["Filename", "Label"], *rows],
        "swapped": [["class", "file"], *([label, name] for name, label in rows)],
        "wide": [["id", "width", "target"], *([name, "64", label] for name, label in rows)],
    }[form]
    written = io.StringIO()
    csv.writer(written, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    text = mark + written.getvalue() + (f"  {end}{separator}{end}" if blank else "")
    (table := folder / "labels.csv").write_bytes(text.encode())
    found = labels_of(folder, paths, str(table))
    assert found is not None
    numbers, names = found
    assert [names[number] for number in numbers.tolist()] == classes
    assert set(names) == set(classes)


def test_a_csv_of_more_columns_must_name_them(tmp_path: Path) -> None:
    root = pictures(tmp_path / "p", [f"{place}.png" for place in range(4)])
    (table := tmp_path / "t.csv").write_text("\n".join(f"{place}.png,64,{'ab'[place % 2]}" for place in range(4)))
    with pytest.raises(DataError, match="more than two columns: begin it with a row that names"):
        load(str(root), labels=str(table))

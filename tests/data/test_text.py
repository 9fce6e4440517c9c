"""Text as bytes and as characters: nothing is lost, nothing is scored twice, and what cannot be read is named."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.data import Dataset, TrainingBatches, load, load_whole
from leadline.data.text import decoded
from leadline.errors import DataError, UsageError

TEXTS = st.lists(st.text("aäß\n🙂 b", min_size=30, max_size=60).filter(str.strip), min_size=1, max_size=6)


def written(folder: Path, texts: list[str]) -> Path:
    for place, text in enumerate(texts):
        (folder / f"{place}.txt").write_bytes(text.encode())
    return folder


def joined(data: Dataset) -> list[str]:
    """Return the texts of all parts, those in pieces put together."""
    return sorted("".join(decoded(piece, data.alphabet) for piece in part.examples) for part in data.parts)


@settings(max_examples=25)
@given(texts=TEXTS, symbols=st.sampled_from(["bytes", "characters"]), piece=st.integers(2, 40))
def test_every_symbol_is_in_one_part_and_decodes_to_what_was_written(
    texts: list[str], symbols: str, piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = written(tmp_path_factory.mktemp("texts"), texts)
    data = load(str(folder), symbols=symbols, piece=piece)
    total = sum(len(text.encode()) if symbols == "bytes" else len(text) for text in texts)
    assert sum(part.symbols for part in data.parts) == total
    for part in (data.validation, data.test):
        assert max(map(len, part.examples)) <= piece
    whole = load_whole(str(folder), symbols=symbols, piece=piece)
    if symbols == "characters":
        assert data.alphabet == "".join(sorted(set("".join(texts))))
        assert data.levels == max(2, len(data.alphabet))
        assert "".join(decoded(x, data.alphabet) for x in whole.part("all").examples) == "".join(texts)
    else:
        content = b"".join(bytes(x.tolist()) for x in whole.part("all").examples)
        assert content == "".join(texts).encode()
    assert whole.part("all").symbols == total


def test_fewer_than_three_texts_are_cut_in_order(tmp_path: Path) -> None:
    text = "".join(map(chr, range(32, 132)))
    (tmp_path / "book.txt").write_text(text)
    for path in (tmp_path, tmp_path / "book.txt"):
        data = load(str(path), symbols="characters", piece=4)
        parts = ["".join(decoded(x, data.alphabet) for x in part.examples) for part in data.parts]
        assert parts == [text[:80], text[80:90], text[90:]]
        assert data.division == "each text 8 : 1 : 1, in order"


def test_a_known_alphabet_is_kept_to(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcab" * 10)
    data = load(str(tmp_path), alphabet="cba")
    assert (data.levels, data.train.examples[0][:3].tolist()) == (3, [2, 1, 0])
    with pytest.raises(DataError, match=r"a\.txt holds the character 'c', which is none of the 2 in the alphabet"):
        load(str(tmp_path), alphabet="ab")


def test_bad_texts_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b" \n")
    with pytest.raises(DataError, match=r"bad\.txt is empty"):
        load(str(tmp_path))
    bad.write_bytes(b"a short one")
    with pytest.raises(DataError, match="too little text"):
        load(str(tmp_path))
    bad.write_bytes(b"\xff" * 100)
    assert load(str(tmp_path)).levels == 256
    with pytest.raises(DataError, match=r"bad\.txt is not UTF-8 .* byte 0"):
        load(str(tmp_path), symbols="characters")
    with pytest.raises(UsageError, match="did you mean 'bytes'"):
        load(str(tmp_path), symbols="byts")


def test_the_help_texts_of_python_are_real_text() -> None:
    data = load("pydoc")
    assert data.licence.startswith("PSF-2.0")
    assert 300_000 < sum(part.symbols for part in data.parts) < 3_000_000
    assert "the" in decoded(data.train.examples[0], None)
    batch = TrainingBatches(data, size=3, seed=0, crop=50).at(5)
    assert batch.x.shape == (3, 50)
    assert torch.equal(batch.x, TrainingBatches(data, size=3, seed=0, crop=50).at(5).x)


def test_labels_of_texts_go_with_every_piece(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, [name * 50] * 5)
    data = load(str(tmp_path), piece=7)
    for part in data.parts:
        assert part.labels is not None
        said = [(data.names or ())[label] for label in part.labels.tolist()]
        assert said == [decoded(piece[:1], None) for piece in part.examples]

"""Checkpoints: read back as written; the foreign, the damaged and pickles refused; a failed write harms nothing."""

import errno
import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import readers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from leadline.errors import CheckpointError, StorageError
from leadline.training import checkpoint as module
from leadline.training import load_checkpoint, save_checkpoint

DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
SHAPES = st.lists(st.integers(0, 4), max_size=3)


@settings(max_examples=25)
@given(st.lists(st.tuples(DTYPES, SHAPES), max_size=5), st.integers(0, 99))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, kinds: list, step: int) -> None:
    path = tmp_path_factory.mktemp("c") / "c.safetensors"
    tensors = {f"t.{i}": torch.randint(0, 2, shape).to(dtype) for i, (dtype, shape) in enumerate(kinds)}
    state = {"step": step, "random": [1, [2.5, None]], "text": "ünï"}
    save_checkpoint(path, tensors, state)
    back, record = load_checkpoint(path)
    assert record == state
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_tied_and_strided_tensors_are_written(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    save_checkpoint(tmp_path / "c", {"a": weight, "tied": weight, "turned": weight.T}, {})
    back, _ = load_checkpoint(tmp_path / "c")
    assert torch.equal(back["tied"], weight)
    assert torch.equal(back["turned"], weight.T)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(path)
    path.write_bytes(b"anything else")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_checkpoint(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of leadline"):
        load_checkpoint(path)


class Bomb:
    def __reduce__(self) -> tuple:
        return os._exit, (13,)


@pytest.mark.parametrize("protocol", [0, 2, 4, "torch"])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, protocol: int | str) -> None:
    path = tmp_path / "c.safetensors"
    if protocol == "torch":
        torch.save({"a": torch.zeros(2)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(), protocol=protocol))
    with pytest.raises(CheckpointError, match="pickle" if protocol else "safetensors"):
        load_checkpoint(path)


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSION", "99")
    save_checkpoint(tmp_path / "c", {}, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="version 99"):
        load_checkpoint(tmp_path / "c")


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_damaged_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, change: int) -> None:
    path = tmp_path_factory.mktemp("c") / "c"
    save_checkpoint(path, {"a": torch.arange(50.0), "b": torch.zeros(3, dtype=torch.uint8)}, {"step": 3})
    content = bytearray(path.read_bytes())
    before = load_checkpoint(path)
    content[place % len(content)] ^= change
    path.write_bytes(content)
    try:
        tensors, state = load_checkpoint(path)
    except CheckpointError:
        return
    assert state == before[1]  # only a byte without meaning, such as white space of the header, may pass
    assert all(torch.equal(tensors[name], tensor) for name, tensor in before[0].items())


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, {"a": torch.arange(50.0)}, {})
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, {"a": torch.zeros(1000)}, {"step": 1})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StorageError, match=r"No space left on device; the previous one is intact"):
        save_checkpoint(path, {"a": torch.ones(1000)}, {"step": 2})
    monkeypatch.undo()
    tensors, state = load_checkpoint(path)
    assert state == {"step": 1}
    assert tensors["a"].sum() == 0
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def sparse(path: Path, shape: list[int], metadata: dict[str, str]) -> None:
    """Write a safetensors file of one tensor that takes no room on the disk."""
    size = 4 * math.prod(shape)
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": metadata, "averaged.w": tensor}).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)


def test_a_checkpoint_that_is_hardly_there_is_refused_unread(tmp_path: Path) -> None:
    sparse(tmp_path / "c", [1 << 20, 3000], {"format": "leadline-checkpoint", "version": module.VERSION, "state": "{}"})
    with pytest.raises(CheckpointError, match="hardly any are on the disk"):
        load_checkpoint(tmp_path / "c")


def test_a_checkpoint_of_other_sizes_is_refused_unread(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", {"averaged.w": torch.zeros(3, 4)}, {})
    assert load_checkpoint(tmp_path / "c", weights={"w": torch.zeros(3, 4)})
    with pytest.raises(CheckpointError, match=r"averaged\.w has the shape \(3, 4\)"):
        load_checkpoint(tmp_path / "c", weights={"w": torch.zeros(4, 3)})


def test_what_was_read_is_no_view_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c"
    save_checkpoint(path, {"a": torch.arange(5000.0)}, {})
    tensors, _ = load_checkpoint(path)
    with open(path, "r+b") as file:  # in place, as leadline never writes
        file.write(b"\xff" * path.stat().st_size)
    assert torch.equal(tensors["a"], torch.arange(5000.0))


FORGED: dict[str, Callable[[dict[str, torch.Tensor], dict], object]] = {
    "a moment of another shape": lambda t, _: t.update({"optimizer.0.exp_avg": torch.zeros(1)}),
    "a moment that is not a number": lambda t, _: t["optimizer.0.exp_avg"].fill_(math.nan),
    "a negative square": lambda t, _: t["optimizer.0.exp_avg_sq"].fill_(-1),
    "more steps than were taken": lambda t, _: t["optimizer.0.step"].fill_(7),
    "a missing moment": lambda t, _: t.pop("optimizer.0.exp_avg"),
    "another optimiser's": lambda t, _: t.update({"optimizer.0.momentum_buffer": torch.zeros(1)}),
    "a parameter that is not there": lambda t, _: t.update({"optimizer.99.step": torch.tensor(1.0)}),
    "no number": lambda t, _: t.update({"optimizer.x.step": torch.tensor(1.0)}),
    "no random state": lambda t, _: t.pop("random.torch"),
    "another random state": lambda t, _: t.update({"random.torch": torch.zeros(9, dtype=torch.uint8)}),
    "weights of another type": lambda t, _: t.update({n: x.double() for n, x in t.items() if n.startswith("model.")}),
    "best weights of another model": lambda t, _: t.update({"best.w": torch.zeros(1)}),
    "no step": lambda _, r: r.pop("step"),
    "a step that is a word": lambda _, r: r.update(step="1"),
    "a negative step": lambda _, r: r.update(step=-1),
    "too few random words": lambda _, r: r["random"].update(python=[3, [1, 2], None]),
    "no log": lambda t, _: t.pop("log"),
    "a log that is no text": lambda t, _: t.update(log=torch.zeros(3)),
    "a schedule without steps": lambda _, r: r["schedule"].update(steps=0),
    "more done than all": lambda _, r: r["schedule"].update(done=2.0),
    "another run's": lambda _, r: r.update(run="another"),
    "another generator": lambda _, r: r["random"]["numpy"].update(bit_generator="PCG64"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_state_is_refused(name: str) -> None:
    held = readers.state()
    record = json.loads(json.dumps(held.record()))
    held.restore(held.tensors(), record)
    tensors = {key: tensor.clone() for key, tensor in held.tensors().items()}
    FORGED[name](tensors, record)
    with pytest.raises(CheckpointError):
        held.restore(tensors, record)


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on replaces it between header and tensors: what is read is not half of each."""
    path, header, reads = tmp_path / "c", module._header, []

    def and_then(read: Path) -> object:
        found = header(read)
        reads.append(len(reads))
        if len(reads) <= replacements:
            save_checkpoint(path, {"a": torch.full((3,), float(len(reads)))}, {"step": len(reads)})
        return found

    monkeypatch.setattr(module, "_header", and_then)
    for replacements in (0, 1, 3):
        reads.clear()
        save_checkpoint(path, {"a": torch.zeros(3)}, {"step": 0})
        tensors, record = load_checkpoint(path)
        assert (record["step"], tensors["a"].tolist()) == (replacements, [replacements] * 3)
    replacements = 10**9
    with pytest.raises(CheckpointError, match="faster than it can be read"):
        load_checkpoint(path)
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(path)

"""Every reader of users' files, with a valid file for each: what `fuzz.py` attacks."""

import dataclasses
import gzip
import io
import json
import os
import struct
import tempfile
import wave
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from leadline.errors import LeadlineError


@cache
def trained() -> tuple[Mapping[str, bytes], Any]:
    """Train a small model for one step; return the files of its run folder, and its state."""
    from leadline.data import load
    from leadline.training import TrainConfig, train
    from leadline.training.state import TrainingState

    states, tensors = [], TrainingState.tensors

    def seen(state: TrainingState) -> dict[str, Any]:
        states.append(state)
        return tensors(state)

    settings = {"layers": 1, "channels": 2, "skip": 2, "head": 2}
    data, config = load("tones", clips=5, length=30), TrainConfig(steps=1, crop=20, batch=2)
    with tempfile.TemporaryDirectory() as folder:
        TrainingState.tensors = seen
        try:
            train("wavenet", settings, data, config, Path(folder) / "run")
        finally:
            TrainingState.tensors = tensors
        return {file.name: file.read_bytes() for file in (Path(folder) / "run").iterdir() if file.is_file()}, states[-1]


@cache
def drawn() -> Mapping[str, bytes]:
    """Train a model of flattened pictures for one step; return the files of its run folder."""
    from leadline.data import load
    from leadline.training import TrainConfig, train

    data, settings = load("digits", flatten=True, levels=4), {"classes": 4, "layers": 1, "channels": 2, "skip": 2}
    with tempfile.TemporaryDirectory() as folder:
        train("wavenet", settings, data, TrainConfig(steps=1, batch=2, validation_examples=2), Path(folder) / "run")
        return {file.name: file.read_bytes() for file in (Path(folder) / "run").iterdir() if file.is_file()}


def run_json() -> bytes:
    """Return a valid ``run.json``."""
    return trained()[0]["run.json"]


def result_json() -> bytes:
    """Return a valid ``result.json``."""
    return trained()[0]["result.json"]


def checkpoint() -> bytes:
    """Return a valid checkpoint."""
    return trained()[0]["checkpoint.safetensors"]


def state() -> Any:
    """Return the training state of that checkpoint."""
    return trained()[1]


def wav() -> bytes:
    """Return a short wav."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(range(200)))
    return buffer.getvalue()


def sound(kind: str, subtype: str) -> bytes:
    """Return a short sound of another kind."""
    import numpy as np
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(300)) / 2, 8000, format=kind, subtype=subtype)
    return buffer.getvalue()


def picture(kind: str) -> bytes:
    """Return a small picture."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.frombytes("L", (7, 6), bytes(range(42))).save(buffer, kind)
    return buffer.getvalue()


def idx() -> bytes:
    """Return a small IDX file."""
    return struct.pack(">BBBB3I", 0, 0, 8, 3, 4, 5, 6) + bytes(120)


def folder_of_run(folder: Path) -> Path:
    """Write the files of a run into a folder, unless they are there; return that."""
    if not folder.exists():
        folder.mkdir()
        for kept, content in trained()[0].items():
            (folder / kept).write_bytes(content)
    return folder


@cache
def loaded() -> Any:
    """Return the run, loaded."""
    from leadline.training import load_run

    with tempfile.TemporaryDirectory() as folder:
        return load_run(folder_of_run(Path(folder) / "run"))


def read_folder(path: Path, name: str) -> None:
    """Read the file as one of a run folder that is otherwise whole, the model included."""
    from leadline.training import load_run
    from leadline.training.folder import RunFolder, RunResult

    run = folder_of_run(path.parent / "run")
    os.replace(path, run / name)
    if name == "result.json":
        RunResult.from_dict(run, RunFolder(run).result() or {})
    else:
        load_run(run)


def read_drawn(path: Path) -> None:
    """Read the file as the description of a run, draw from it, and write what is drawn in every way."""
    from leadline.audit.trained import draw
    from leadline.report.exports import suffixes_of, write_samples
    from leadline.training import load_run

    run = path.parent / "drawn"
    if not run.exists():
        run.mkdir()
        for kept, content in drawn().items():
            (run / kept).write_bytes(content)
    os.replace(path, run / "run.json")
    samples = draw(load_run(run), 1, length=1, naive=True)
    for suffix in suffixes_of(samples.kind, samples.rate):
        write_samples(samples, path.parent / f"samples{suffix}")


def read_state(path: Path) -> None:
    """Read the file as the record of a checkpoint, and restore it."""
    from leadline.errors import CheckpointError
    from leadline.files.reading import read_record

    record = read_record(path, dict[str, Any], CheckpointError)
    state().restore(state().tensors(), record)


def read_settings(path: Path) -> None:
    """Read the file as words of settings: of nobody's, of the loop's, of a model's and of a data set's."""
    from leadline.key_values import literals
    from leadline.training import TrainConfig
    from leadline.zoo import parse_settings

    words = path.read_bytes().decode("utf-8", "surrogateescape").split(" ")
    for read in (lambda: TrainConfig.from_dict(literals(words)), lambda: parse_settings("wavenet", words)):
        try:
            read()
        except LeadlineError:
            continue


def read_layout(path: Path) -> None:
    """Read the file as a layout."""
    from leadline.graph.layout import Layout

    Layout.parse(path.read_bytes().decode("utf-8", "surrogateescape"))


def read_sound(path: Path) -> None:
    """Read a wav or FLAC."""
    from leadline.data.audio import read_sound

    read_sound(path)


def read_picture(path: Path) -> None:
    """Read a picture, as it is, resized, and in grey."""
    from leadline.data.pictures import read_pictures

    for size in (None, 4):
        for color in (None, "grey"):
            read_pictures([path], size, color)


def deep_picture() -> bytes:
    """Return a small picture of 16 bits."""
    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.arange(42, dtype=np.uint16).reshape(6, 7) * 1500).save(buffer, "PNG")
    return buffer.getvalue()


def deep_colours() -> bytes:
    """Return a small picture in colours of 16 bits, which Pillow reads and does not write."""
    import numpy as np

    values = np.arange(4 * 5 * 3, dtype=">u2").reshape(4, 5, 3) * 1000
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def read_text(path: Path) -> None:
    """Read the file as text, as bytes and as characters."""
    from leadline.data.text import text_files

    for symbols in ("bytes", "characters"):
        text_files(path, symbols=symbols)


def read_labels(path: Path) -> None:
    """Read the file as the table of labels of two files."""
    from leadline.data.labels import labels_of

    labels_of(path.parent, [path.parent / "a.png", path.parent / "b" / "c.png"], str(path))


def read_idx(path: Path) -> None:
    """Read an IDX file."""
    from leadline.data.idx import read_idx

    read_idx(path)


def read_zipped(path: Path) -> None:
    """Compress the file and read it, so that mutations pass gzip's checksum."""
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    read_idx(path)


def read_checkpoint(path: Path) -> None:
    """Read a checkpoint for the model that it is of, and restore it."""
    from leadline.training import load_checkpoint

    state().restore(*load_checkpoint(path, weights=state().model.state_dict()))


def read_sealed(path: Path) -> None:
    """Mend the checksum of a mutated checkpoint, so that what it holds is looked at, and read it."""
    from safetensors.torch import load

    from leadline.training import save_checkpoint

    content = path.read_bytes()
    try:
        size = int.from_bytes(content[:8], "little")
        text = json.loads(content[8 : 8 + size])["__metadata__"]["state"]
        tensors, record = load(content), json.loads(text)
    except Exception:
        return read_checkpoint(path)
    save_checkpoint(path, tensors, record)
    return read_checkpoint(path)


def read_counterexample(path: Path) -> None:
    """Read a counterexample of a claim."""
    from leadline.claims import Counterexample

    Counterexample.load(path)


def read_metrics(path: Path) -> None:
    """Read the file as the metrics of a run, and draw them."""
    from leadline.report.drawings.curves import training_curve

    os.replace(path, path.parent / "metrics.jsonl")
    training_curve(dataclasses.replace(loaded(), path=path.parent))


def read_cell(path: Path) -> None:
    """Read the file as a cell of a sweep."""
    from leadline.sweeps.cells import SweepFolder

    os.makedirs(path.parent / "cells", exist_ok=True)
    os.replace(path, path.parent / "cells" / "key.json")
    SweepFolder(path.parent).finished("key")


def read_table(path: Path) -> None:
    """Read the file as the table of a sweep."""
    from leadline.sweeps.table import from_parquet

    from_parquet(path.read_bytes(), str(path))


def table() -> bytes:
    """Return the table of a sweep."""
    from leadline.sweeps.table import as_parquet

    rows = [{"layers": n, "activation": "tanh", "seed": 0, "gradient.rate": 0.1 * n, "error": None} for n in range(9)]
    return as_parquet(rows, list(rows[0]))


def read_limits(path: Path) -> None:
    """Read the file as a budget."""
    from leadline.audit.budget import read_budget

    read_budget(path)


def counterexample() -> bytes:
    """Return a counterexample."""
    return (
        b'{"against": "x < 1", "values": {"x": 2.0, "n": 3}, "arrays": {"w": {"dtype": "float64", "data": [[1.0, 2]]}}}'
    )


def state_json() -> bytes:
    """Return the record of a checkpoint."""
    return json.dumps(state().record()).encode()


CELL = (
    b'{"format": "leadline-cell", "version": 1, "cell": {"model": "mlp", "seed": 0}, "measures": {"a.rate": -0.25, '
    b'"gradient.kind": "stable", "reach.half_life": null, "gradient.rate.sem": "inf"}, "error": null, "tries": 1}'
)
BUDGET = b"""[tool.other]
leaks = true
[tool.leadline]
leaks = false
verdict = "finite-mask"
steps = {min = 2, max = 40}
memory = "1.5 GiB"
"""
Reader = Callable[[Path], None]
TARGETS: Mapping[str, tuple[Callable[[], bytes], Reader, int]] = {
    "idx": (idx, read_zipped, 12),
    "gzip": (lambda: gzip.compress(idx()), read_idx, 12),
    "wav": (wav, read_sound, 12),
    "wav-float": (lambda: sound("WAV", "FLOAT"), read_sound, 8),
    "wav-24": (lambda: sound("WAV", "PCM_24"), read_sound, 8),
    "flac": (lambda: sound("FLAC", "PCM_16"), read_sound, 8),
    "png": (lambda: picture("PNG"), read_picture, 10),
    "png-16": (deep_picture, read_picture, 8),
    "png-colours-16": (deep_colours, read_picture, 6),
    "text": (lambda: "a short text, of äöü and 🙂: ".encode() * 4, read_text, 12),
    "labels": (lambda: b"file,class\na.png,cat\nb/c.png,dog\n", read_labels, 12),
    "jpeg": (lambda: picture("JPEG"), read_picture, 6),
    "gif": (lambda: picture("GIF"), read_picture, 6),
    "bmp": (lambda: picture("BMP"), read_picture, 6),
    "tiff": (lambda: picture("TIFF"), read_picture, 6),
    "webp": (lambda: picture("WEBP"), read_picture, 4),
    "pgm": (lambda: picture("PPM"), read_picture, 6),
    "run.json": (run_json, lambda path: read_folder(path, "run.json"), 6),
    "drawn": (lambda: drawn()["run.json"], read_drawn, 2),
    "result.json": (result_json, lambda path: read_folder(path, "result.json"), 16),
    "state": (state_json, read_state, 4),
    "checkpoint": (checkpoint, read_checkpoint, 12),
    "sealed": (checkpoint, read_sealed, 2),
    "counterexample": (counterexample, read_counterexample, 16),
    "metrics": (lambda: trained()[0]["metrics.jsonl"] * 3, read_metrics, 8),
    "cell": (lambda: CELL, read_cell, 8),
    "table": (table, read_table, 8),
    "budget": (lambda: BUDGET, read_limits, 8),
    "settings": (lambda: b"layers=3 lr=3e-4 name='a' flag=true pair=(1,2)", read_settings, 16),
    "layout": (lambda: b"b (h w) c, _ -> b h w v", read_layout, 16),
}
"""How a valid file is made, how it is read, and which part of all inputs (of their sum) the target takes."""

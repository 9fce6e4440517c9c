"""Mutated files for every reader: each ends in a value or a `LeadlineError`, in time and within memory.

``python tests/fuzz.py --inputs 1000000`` goes on where it was stopped; a target's part of the inputs runs in a process
of its own, under a limit of its address space. What is wrong is listed, by target and number, and the exit code is 1.
"""

import argparse
import gzip
import io
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from leadline.errors import LeadlineError
from leadline.files.writing import make_directory, write_atomically

SECONDS, MEMORY, PART = 10, 1 << 30, 20000
"""A reader may take so long for one input, and so much memory beyond what importing it takes."""
WORDS = (
    b"NaN",
    b"-1",
    b"1e999",
    b"1000000000",
    b"null",
    b"[[[[[[[[",
    b'"',
    b"\x00",
    b"\xff\xff\xff\xff",
    b"{}",
    b"9" * 400,
)


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


def read_folder(path: Path, name: str) -> None:
    """Read the file as one of a run folder that is otherwise whole, the model included."""
    from leadline.training import load_run
    from leadline.training.folder import RunFolder, RunResult

    run = path.parent / "run"
    if not run.exists():
        run.mkdir()
        for kept, content in trained()[0].items():
            (run / kept).write_bytes(content)
    os.replace(path, run / name)
    if name == "result.json":
        RunResult.from_dict(run, RunFolder(run).result() or {})
    else:
        load_run(run)


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
    """Read a picture, as it is and resized."""
    from leadline.data.pictures import read_pictures

    for size in (None, 4):
        read_pictures([path], size)


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


def counterexample() -> bytes:
    """Return a counterexample."""
    return (
        b'{"against": "x < 1", "values": {"x": 2.0, "n": 3}, "arrays": {"w": {"dtype": "float64", "data": [[1.0, 2]]}}}'
    )


def state_json() -> bytes:
    """Return the record of a checkpoint."""
    return json.dumps(state().record()).encode()


Reader = Callable[[Path], None]
TARGETS: Mapping[str, tuple[Callable[[], bytes], Reader, int]] = {
    "idx": (idx, read_zipped, 12),
    "gzip": (lambda: gzip.compress(idx()), read_idx, 12),
    "wav": (wav, read_sound, 12),
    "wav-float": (lambda: sound("WAV", "FLOAT"), read_sound, 8),
    "wav-24": (lambda: sound("WAV", "PCM_24"), read_sound, 8),
    "flac": (lambda: sound("FLAC", "PCM_16"), read_sound, 8),
    "png": (lambda: picture("PNG"), read_picture, 10),
    "jpeg": (lambda: picture("JPEG"), read_picture, 6),
    "gif": (lambda: picture("GIF"), read_picture, 6),
    "bmp": (lambda: picture("BMP"), read_picture, 6),
    "tiff": (lambda: picture("TIFF"), read_picture, 6),
    "webp": (lambda: picture("WEBP"), read_picture, 4),
    "pgm": (lambda: picture("PPM"), read_picture, 6),
    "run.json": (run_json, lambda path: read_folder(path, "run.json"), 6),
    "result.json": (result_json, lambda path: read_folder(path, "result.json"), 16),
    "state": (state_json, read_state, 4),
    "checkpoint": (checkpoint, read_checkpoint, 12),
    "sealed": (checkpoint, read_sealed, 2),
    "counterexample": (counterexample, read_counterexample, 16),
    "settings": (lambda: b"layers=3 lr=3e-4 name='a' flag=true pair=(1,2)", read_settings, 16),
    "layout": (lambda: b"b (h w) c, _ -> b h w v", read_layout, 16),
}
"""How a valid file is made, how it is read, and which part of all inputs (of their sum) the target takes."""


VALUES = (None, True, -1, 0, 1, 2**31, 2**64, 10**9, 1e300, -0.0, "", "x", "\x1b[31m", [], [1], {}, {"a": 1}, 0.5)


def mutated_record(record: Any, rng: random.Random) -> bytes:
    """Change a JSON record at one to three places: another value, a name or element less, more or twice."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, step = record, rng.randrange(1, 6)
        while step and isinstance(holder, dict | list) and holder:
            key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if step == 1 or not isinstance(holder[key], dict | list):
                value = deepcopy(rng.choice((*VALUES, holder[key], [holder[key]] * 3)))
                match rng.randrange(3):
                    case 0:
                        del holder[key]
                    case 1 if isinstance(holder, dict):
                        holder[f"{key}x"] = value
                    case _:
                        holder[key] = value
                break
            holder, step = holder[key], step - 1
    return json.dumps(record).encode()


def mutated(valid: bytes, rng: random.Random) -> bytes:
    """Change a file at one to eight places: bits, bytes, numbers, pieces that are cut, doubled, moved or put in."""
    if valid.startswith(b"{") and rng.random() < 0.7:
        return mutated_record(json.loads(valid), rng)
    data = bytearray(valid)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(data) + 1) if rng.random() < 0.5 else rng.randrange(min(len(data), 64) + 1)
        length = rng.choice((1, 2, 4, 8, rng.randrange(1, 64)))
        match rng.randrange(8):
            case 0 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case 1 if place < len(data):
                data[place] = rng.randrange(256)
            case 2:
                data[place : place + length] = rng.randbytes(length)
            case 3:
                data[place : place + length] = b""
            case 4:
                data[place:place] = data[place : place + length] * rng.choice((1, 2, 50))
            case 5:
                data[place : place + rng.choice((0, 1, 4))] = rng.choice(WORDS)
            case 6:
                number = rng.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20, 10**9))
                data[place : place + 4] = number.to_bytes(4, rng.choice(("little", "big")))
            case 7:
                del data[place:]
    return bytes(data)


def attack(target: str, first: int, count: int, folder: Path, limited: bool = True) -> list[str]:
    """Read so many mutated files, numbered from `first`; return what is wrong, in words."""
    make, read, _ = TARGETS[target]
    valid, wrong = make(), []
    path = folder / "file"
    path.write_bytes(valid)
    read(path)  # the valid file is read, and whatever that imports is imported
    if limited:
        used = _address_space()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MEMORY, resource.RLIM_INFINITY))
    handler = signal.signal(signal.SIGALRM, _late)
    for number in range(first, first + count):
        content = mutated(valid, random.Random(f"{target} {number}"))
        path.write_bytes(content)
        before = _peak()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            read(path)
        except LeadlineError as error:
            if error.exit_code not in range(2, 8):
                wrong.append(f"{target} {number}: {type(error).__name__} has the exit code {error.exit_code}")
        except BaseException as error:
            wrong.append(f"{target} {number}: {type(error).__name__}: {str(error)[:200]}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if _peak() - before > MEMORY:
            wrong.append(f"{target} {number}: it took {(_peak() - before) >> 20} MiB")
    signal.signal(signal.SIGALRM, handler)
    return wrong


class Late(BaseException):
    """A reader takes too long; no reader takes this for an error of its own."""


def _late(_: int, frame: FrameType | None) -> None:
    raise Late(f"it took more than {SECONDS} s, at {frame and frame.f_code.co_filename}:{frame and frame.f_lineno}")


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def part_of(folder: Path, target: str, first: int, count: int) -> dict[str, Any]:
    """Read a part of a target's inputs in a process of its own; a process that dies is what is wrong with it."""
    words = [sys.executable, __file__, "--folder", str(folder), "--part", target, str(first), str(count)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60 + SECONDS * count)
    except subprocess.TimeoutExpired:
        return {"inputs": count, "wrong": [f"{target} {first}: the process hangs"]}
    if done.returncode != 0:
        return {"inputs": count, "wrong": [f"{target} {first}: exit {done.returncode}: {done.stderr[-500:]}"]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def campaign(folder: Path, inputs: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Go on with all targets, part by part, until all inputs are read or the time is over; return how far it is."""
    make_directory(folder)
    record = folder / "counts.json"
    done = json.loads(record.read_text()) if record.exists() else {}
    whole, end = sum(share for *_, share in TARGETS.values()), time.monotonic() + seconds
    goals = {target: -(-inputs * share // whole) for target, (*_, share) in TARGETS.items()}
    while time.monotonic() < end:
        left = [t for t, goal in goals.items() if done.get(t, {}).get("inputs", 0) < goal]
        if not left:
            break
        target = min(left, key=lambda t: done.get(t, {}).get("inputs", 0) / goals[t])
        held = done.setdefault(target, {"inputs": 0, "wrong": []})
        found = part_of(folder, target, held["inputs"], min(PART, goals[target] - held["inputs"]))
        held["inputs"] += found["inputs"]
        held["wrong"] += found["wrong"]
        write_atomically(record, json.dumps(done, indent=1).encode())
    return done


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--part", nargs=3, metavar=("TARGET", "FIRST", "COUNT"))
    given = parser.parse_args()
    if given.part:
        target, first, count = given.part
        with tempfile.TemporaryDirectory() as scratch:
            wrong = attack(target, int(first), int(count), Path(scratch))
        print(json.dumps({"inputs": int(count), "wrong": wrong}))
        return
    done = campaign(given.folder, given.inputs, given.seconds)
    wrong = [line for held in done.values() for line in held["wrong"]]
    print(f"{sum(held['inputs'] for held in done.values())} inputs, {len(wrong)} wrong", *wrong[:50], sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

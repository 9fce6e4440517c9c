"""A sampler that a run keeps: the program of its last drawing, sealed, so that the next one derives nothing.

A program is run by compiled code that trusts every address in it. So the file carries a seal (HMAC-SHA-256) under a key
of this user's, which stands in the user's cache, not in the run folder: a program that somebody else made, or changed,
has no such seal and is not read. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leadline.errors import CheckpointError, Diverged, LeadlineError, UsageError
from leadline.files.reading import read_bytes
from leadline.files.writing import make_directory, write_atomically
from leadline.sampling.compiled import instructions as word
from leadline.sampling.uniform_rows import uniform_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "sampler.bin"
USUAL = 16
"""Samples that a drawing makes where nothing says how many."""
_SEAL = 32
LINE = 64  # bytes


@dataclass(frozen=True, eq=False)
class Kept:
    """A program for `n` samples of symbols whose axes have `sizes`, in the machine's order of axes.

    `axes` puts them in the layout's; `grid` has the height and the width of what a front runs over.

    The other fields are those of `NumbaMachine`; `about` is what a drawing says of its data.
    """

    words: NDArray[np.int64]
    frame: NDArray[np.int64]
    numbers: NDArray[Any]
    weights: NDArray[Any]
    length: int
    where: int
    fronts: tuple[int, int]
    n: int
    grid: tuple[int, ...]
    sizes: tuple[int, ...]
    axes: tuple[int, ...]
    lag: int
    classes: int
    about: dict[str, Any]

    def draw(self, seed: int, temperature: float, top_k: int | None) -> NDArray[np.int64]:
        """Return symbols, ``(n, *positions)``, as `Stream.generate` draws them."""
        from leadline.sampling.compiled import interpreter

        positions = int(np.prod(self.sizes))
        memory = on_a_line(self.length, self.numbers.dtype)
        memory[: len(self.numbers)] = self.numbers
        weights = on_a_line(len(self.weights), self.weights.dtype)
        weights[:] = self.weights
        frame = self.frame.copy()
        frame[[word.BEGIN, word.END, word.HEIGHT, word.WIDTH]] = *self.fronts, *self.grid
        frame[[word.LAG, word.CLASSES, word.TOP_K]] = self.lag, self.classes, top_k or self.classes
        frame[[word.FED, word.ORIGIN]] = 0, 0
        symbols, nothing = np.zeros(self.n * positions, np.int64), memory[:0]
        drawing = symbols, np.zeros(len(symbols), np.uint8), uniform_rows(seed, self.n, positions).reshape(-1)
        scratch = np.zeros(self.classes + LINE), np.zeros(self.classes, np.int64)
        status, where = interpreter.execute(
            frame, memory, weights, self.words, np.zeros(self.where, np.int64), *drawing, float(temperature), *scratch,
            nothing, nothing,
        )  # fmt: skip
        if status == 1:
            place = tuple(int(p) for p in np.unravel_index(where, self.sizes))
            raise Diverged(f"the symbol at position {place} cannot be drawn: its logits are not finite")
        if status == 2:
            raise UsageError(f"in front {where} a positional table ends, or a class has no embedding")
        return symbols.reshape(self.n, *self.sizes).transpose(0, *(1 + axis for axis in self.axes))


_ARRAYS = ("words", "frame", "numbers", "weights")


def keep(run: Path, asked: str, kept: Kept) -> None:
    """Keep a program beside a run, as far as disk and cache allow; `asked` is what it answers, see `question`."""
    plain = {name: value for name, value in vars(kept).items() if name not in _ARRAYS}
    arrays = [getattr(kept, name) for name in _ARRAYS]
    header = json.dumps({"asked": asked, **plain, "arrays": [[a.dtype.str, len(a)] for a in arrays]}).encode()
    content = len(header).to_bytes(8, "little") + header + b"".join(a.tobytes() for a in arrays)
    with suppress(LeadlineError, OSError):
        write_atomically(run / NAME, _sealed(content) + content)


def find_kept(run: Path, asked: str) -> Kept | None:
    """Return the program that a run keeps, if it answers what is asked and bears this user's seal."""
    try:
        whole = read_bytes(run / NAME, CheckpointError)
        seal, content = whole[:_SEAL], whole[_SEAL:]
        if not hmac.compare_digest(seal, _sealed(content)):
            return None
    except (LeadlineError, OSError):
        return None
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    if header.pop("asked") != asked:
        return None
    arrays = []
    for dtype, count in header.pop("arrays"):
        arrays.append(np.frombuffer(content, np.dtype(dtype), count, end).copy())  # as compiled for
        end += arrays[-1].nbytes
    lists = {name: tuple(header[name]) for name in ("fronts", "grid", "sizes", "axes")}
    fields: dict[str, Any] = {**header, **lists, **dict(zip(_ARRAYS, arrays, strict=True))}
    return Kept(**fields)


def question(run: Path, n: int, length: int | None, label: int | None) -> str:
    """Return what a drawing asks of a run, told apart from all others: the run as it stands, and this leadline."""
    digest = hashlib.sha256(f"{version('leadline')} {n} {length} {label}".encode())
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    for path in (run / "run.json", run / "checkpoint.safetensors", *sources):
        digest.update(hashlib.sha256(read_bytes(path, CheckpointError)).digest())
    return digest.hexdigest()


def _sealed(content: bytes) -> bytes:
    return hmac.new(_key(), content, "sha256").digest()


def _key() -> bytes:
    """Return this user's key, from a folder that nobody else reads; both are made where there are none.

    Raises `OSError` or `LeadlineError` where that fails.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leadline" / "seal"
    path = folder / "key"
    if not os.path.isdir(folder):
        make_directory(folder.parent)
        os.mkdir(folder, 0o700)
    if os.name == "posix" and (os.stat(folder).st_mode & 0o077 or os.stat(folder).st_uid != os.getuid()):
        raise CheckpointError(f"{folder} is not this user's alone")
    if not os.path.exists(path):
        write_atomically(path, secrets.token_bytes(_SEAL))
    key = read_bytes(path, CheckpointError, limit=_SEAL)
    if len(key) != _SEAL:
        raise CheckpointError(f"{path} is no key: remove it")
    return key


def on_a_line(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros that begin on a line."""
    zeros = np.zeros(length + LINE // dtype.itemsize, dtype)
    first = -zeros.ctypes.data % LINE // dtype.itemsize
    return zeros[first : first + length]

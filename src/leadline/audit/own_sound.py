"""Sound drawn from a model of the user's own: symbols of its distribution along time, as a µ-law of its classes."""

import time

import torch

from leadline.audit.trained import Drawn
from leadline.errors import UsageError
from leadline.graph.reading import Reading
from leadline.sampling._stream import stream_of
from leadline.sampling.backends import Backend
from leadline.sampling.rates import FrameStream


def draw_sound(
    reading: Reading,
    n: int,
    rate: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    length: int | None = None,
    backend: Backend = "numba",
) -> Drawn:
    """Draw `n` sounds of `rate` samples a second from a model of one time axis that reads and describes classes.

    A model whose output describes the next symbol (lag 1 away from what it reads: a language model's way) begins with
    the class of silence. The other arguments, and errors, are those of `leadline.stream` and `Stream.generate`.
    """
    made = stream_of(reading, backend=backend)
    if (
        isinstance(made, FrameStream)
        or len(made.source.system.axes) != 1
        or not made.interface.integer
        or len(made.source.system.shape) != 1
    ):
        raise UsageError(
            "sound is drawn from a model of one time axis that reads classes, integers, and returns logits over them: "
            "its layout is like 'b t -> b t v'"
        )
    levels = made.source.system.shape[0]
    silence = None if made.lag else torch.full((n, 1), levels // 2)
    start = time.perf_counter()
    symbols = made.generate(n, seed=seed, temperature=temperature, top_k=top_k, length=length, given=silence)
    return Drawn(symbols, time.perf_counter() - start, "derived", seed, levels, rate, kind="audio")

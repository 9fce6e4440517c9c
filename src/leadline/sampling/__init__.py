"""Samplers: the naive oracle, and those derived from a system.

Names are loaded when they are first asked for: a sampler that a run keeps draws without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadline.sampling._export import Exported
    from leadline.sampling._stream import stream
    from leadline.sampling.naive import naive_sample, uniforms
    from leadline.sampling.narrowed import Narrowed
    from leadline.sampling.rates import FrameStream
    from leadline.sampling.streaming import Stream

__all__ = ["Exported", "FrameStream", "Narrowed", "Stream", "naive_sample", "stream", "uniforms"]

_HOMES = {
    "Exported": "_export",
    "FrameStream": "rates",
    "Narrowed": "narrowed",
    "Stream": "streaming",
    "stream": "_stream",
    "naive_sample": "naive",
    "uniforms": "naive",
}


def __getattr__(name: str) -> Any:
    """Load a name of this room when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'leadline.sampling' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"leadline.sampling.{_HOMES[name]}"), name)
    return found

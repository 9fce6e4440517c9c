"""Samplers: the naive oracle, and those derived from a system."""

from leadline.sampling._export import Exported
from leadline.sampling._stream import Stream, stream
from leadline.sampling.naive import naive_sample, uniforms
from leadline.sampling.narrowed import Narrowed

__all__ = ["Exported", "Narrowed", "Stream", "naive_sample", "stream", "uniforms"]

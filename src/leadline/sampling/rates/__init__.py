"""Streams whose variables have rates of their own: frames go in, and what is known by then comes out."""

from leadline.sampling.rates.source import rated_source_of
from leadline.sampling.rates.stream import FrameStream

__all__ = ["FrameStream", "rated_source_of"]

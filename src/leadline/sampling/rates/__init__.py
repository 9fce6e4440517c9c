"""Streams whose variables have rates of their own: frames go in, and what is known by then comes out."""

from leadline.sampling.rates.frames import FrameStream
from leadline.sampling.rates.source import rated_source_of

__all__ = ["FrameStream", "rated_source_of"]

"""Systems of several rates: strides, transposed convolutions, enlargements and patches along positions."""

from leadline.recurrence.rates._rated import rated_system_of

__all__ = ["rated_system_of"]

"""Numbers as people read them."""

import math

from leadline.results import Bound


def whole(value: int) -> str:
    """Group thousands.

    Examples
    --------
    >>> whole(1234567)
    '1 234 567'
    """
    return f"{value:,}".replace(",", " ")


def magnitude(value: int) -> str:
    """Return a whole number as people say it: in full up to 9 999, then three digits and a unit.

    Examples
    --------
    >>> magnitude(9999), magnitude(46_137_344), magnitude(7_000_000_000)
    ('9 999', '46.1 million', '7 billion')
    """
    for unit, name in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if abs(value) >= max(unit, 10_000):
            return f"{value / unit:.3g} {name}" if abs(value) / unit < 999.5 else f"{whole(value // unit)} {name}"
    return whole(value)


def places(count: int, rate: float | None = None) -> str:
    """Return a number of positions; where these are samples taken at a `rate` in hertz, with the time that they last.

    Examples
    --------
    >>> places(1), places(126), places(126, 16_000)
    ('1 position', '126 positions', '126 samples (7.88 ms)')
    """
    many = "" if count == 1 else "s"
    if rate is None:
        return f"{whole(count)} position{many}"
    return f"{whole(count)} sample{many} ({1000 * count / rate:.3g} ms)"


def factor(log: float) -> str:
    """Return a factor given by its logarithm, however large.

    Examples
    --------
    >>> factor(0.0), factor(math.log(1.085)), factor(-2000.0)
    ('1 ×', '1.08 ×', '10^-869 ×')
    """
    exponent = log / math.log(10)
    return f"{math.exp(log):.3g} ×" if abs(exponent) < 6 else f"10^{exponent:.0f} ×"


def size(count: int) -> str:
    """Return bytes in the largest binary unit that leaves at least one.

    Examples
    --------
    >>> size(512), size(3 << 20)
    ('512 B', '3.0 MiB')
    """
    value, units = float(count), ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if value < 1024 or unit == units[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def shape(sizes: tuple[int, ...]) -> str:
    """Return a shape with its axes multiplied."""
    return " × ".join(map(str, sizes)) or "scalar"


def bound(value: Bound) -> str:
    """Return a bound on a whole number: the number where both sides meet.

    Examples
    --------
    >>> from leadline.results import Status
    >>> bound(Bound(82, 82, Status.PROVED)), bound(Bound(5, 1000, Status.BOUND))
    ('82', '5 to 1 000')
    """
    return whole(int(value.hi)) if value.width == 0 else f"{whole(int(value.lo))} to {whole(int(value.hi))}"

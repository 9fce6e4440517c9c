"""Numbers as people read them."""

from leadline.results import Bound


def whole(value: int) -> str:
    """Group thousands.

    Examples
    --------
    >>> whole(1234567)
    '1 234 567'
    """
    return f"{value:,}".replace(",", " ")


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

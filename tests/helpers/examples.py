"""How many examples a costly law is tried on: few in `make test`, many in `make test-all`."""

import os


def examples(few: int, many: int) -> int:
    """Return `many` in `make test-all`, which checks the types of every room too, and else `few`."""
    return many if "CHECKED" in os.environ else few

"""Compiled code is kept between processes, and a disk that refuses costs time alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, no_type_check

import numba as nb
import pytest
from numba.core import caching

from leadline.sampling.compiled.keeping import kept

LOCATORS = caching.CacheImpl._locator_classes


@no_type_check
def twice(x):
    return 2 * x


def compiled() -> Any:
    return kept(nb.njit(twice))


def refused(*_: object, **__: object) -> None:
    raise OSError("the disk is full")


def damage(folder: Path) -> None:
    (index,) = folder.rglob("*.nbi")
    index.write_bytes(index.read_bytes()[:40] + b"damaged")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nb.config, "CACHE_DIR", str(tmp_path))


def test_what_is_compiled_is_kept() -> None:
    assert compiled()(4) == 8
    again = compiled()
    assert again(4) == 8
    assert again.stats.cache_hits


@pytest.mark.parametrize(
    "breaks",
    [
        lambda patch: patch.setattr(caching.IndexDataCacheFile, "_save_index", refused),
        lambda patch: patch.setattr(caching.IndexDataCacheFile, "_load_index", refused),
        lambda patch: [
            patch.setattr(each, "ensure_cache_path", refused) for each in caching.CacheImpl._locator_classes
        ],
    ],
    ids=["cannot be written", "cannot be read", "has no place"],
)
def test_a_cache_that_refuses_is_done_without(
    breaks: Callable[[pytest.MonkeyPatch], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)
    for _ in range(2):
        function = compiled()
        assert function(4) == 8
        assert not function.stats.cache_hits


def test_a_damaged_cache_is_done_without(tmp_path: Path) -> None:
    assert compiled()(4) == 8
    damage(tmp_path)
    assert compiled()(4) == 8

"""Classes to draw are named as the data names them: a number is a place only where no class is called by a number."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.cli.again import classes_of
from leadline.errors import UsageError

WORDS = st.sampled_from(["cat", "dog", "a, b", "ü", "0", "1", "2", "1999", "-"])


@given(names=st.lists(WORDS, unique=True, max_size=5), asked=st.lists(WORDS, min_size=1, max_size=3))
def test_classes_are_found_by_name(
    names: list[str], asked: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = tmp_path_factory.mktemp("run")
    (run / "run.json").write_text(json.dumps({"data": {"names": names or None}}))
    text = ",".join(asked)
    words = asked if len(asked) == 1 and asked[0] in names else [word.strip() for word in text.split(",")]
    numbers = not any(name.isdecimal() for name in names) and all(word.isdecimal() for word in words)
    if numbers:
        wanted = [int(word) for word in words]
    elif all(word in names for word in words):
        wanted = [names.index(word) for word in words]
    else:
        with pytest.raises(UsageError, match=r"names no classes|there is no class"):
            classes_of(run, text)
        return
    assert list(classes_of(run, text)) == wanted

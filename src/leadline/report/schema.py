"""The JSON Schema of results, made from their types: ``python -m leadline.report.schema docs/results.schema.json``."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import sympy
import torch
from jaxtyping import AbstractArray

from leadline.claims.claim import Finding
from leadline.recurrence import System
from leadline.report.figures import figures
from leadline.results import FORMAT, Result

_NUMBER = {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}]}
_ARRAY = {
    "anyOf": [{"$ref": "#/$defs/number"}, {"type": "boolean"}, {"type": "array", "items": {"$ref": "#/$defs/array"}}]
}
_PLAIN: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"}, int: {"type": "integer"}, float: {"$ref": "#/$defs/number"}, str: {"type": "string"},
    type(None): {"type": "null"}, Any: {}, object: {}, torch.dtype: {"type": "string"}, sympy.Expr: {"type": "string"},
}  # fmt: skip
_BY_HAND: dict[type, dict[str, Any]] = {
    System: {
        "axes": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "inputs": {"type": "array", "items": {"type": "string"}},
        "output": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "variables": {"type": "array", "items": {"type": "object", "required": ["name", "channels", "equation"]}},
    },
    Finding: {
        "id": {"type": "string"},
        "title": {"type": "string"},
        "verdict": {"enum": ["proved", "measured", "refuted", "corrected"]},
        "statement": {"type": "string"},
        "tests": {"type": "array", "items": {"type": "object", "required": ["role", "statement", "holds"]}},
        "figures": {"type": "array", "items": {"type": "object", "required": ["name", "status"]}},
        "full": {"type": "boolean"},
        "seed": {"type": "integer"},
        "seconds": {"type": "number"},
    },
}
"""Of results that hold functions only some is written down."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema of what `to_json` gives, of any result.

    Examples
    --------
    >>> sorted(schema()["$defs"]["Bound"]["properties"])
    ['assumptions', 'hi', 'lo', 'status']
    """
    definitions: dict[str, Any] = {"number": _NUMBER, "array": _ARRAY}
    kinds = sorted((c for c in figures.registry if issubclass(c, Result)), key=lambda c: c.__name__)
    for kind in kinds:
        _define(kind, definitions)
    for definition in definitions.values():
        definition.pop("$comment", None)
    names = [kind.__name__ for kind in kinds]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Results of leadline",
        "type": "object",
        "required": ["format", "type"],
        "properties": {"format": {"const": FORMAT}, "type": {"enum": names}},
        "allOf": [
            {"if": {"properties": {"type": {"const": kind.__name__}}}, "then": _reference(kind)} for kind in kinds
        ],
        "$defs": dict(sorted(definitions.items())),
    }


def _reference(kind: type) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _define(kind: type, definitions: dict[str, Any]) -> None:
    """Add the definition of a dataclass, and of those that it holds; no two may bear one name."""
    whole = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__name__ in definitions:
        if definitions[kind.__name__]["$comment"] != whole:
            raise TypeError(f"{whole} has the name of {definitions[kind.__name__]['$comment']}: rename one of them")
        return
    definition: dict[str, Any] = {"type": "object", "$comment": whole}
    definitions[kind.__name__] = definition
    if kind in _BY_HAND:
        properties = _BY_HAND[kind]
    else:
        hints = get_type_hints(kind)
        properties = {field.name: _of(hints[field.name], definitions) for field in dataclasses.fields(kind)}
        for name in getattr(kind, "derived", ()):
            held = getattr(kind, name)
            getter = held.func if isinstance(held, cached_property) else held.fget
            properties[name] = _of(get_type_hints(getter)["return"], definitions)
    definition |= {"required": list(properties), "properties": properties}


def _of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an annotation."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(part, definitions) for part in parts]}
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return {"type": "array", "items": _of(parts[0], definitions)}
        return {"type": "array", "prefixItems": [_of(part, definitions) for part in parts]}
    if origin is np.ndarray or (isinstance(hint, type) and issubclass(hint, AbstractArray | torch.Tensor)):
        return {"$ref": "#/$defs/array"}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(parts[1], definitions)}
    if issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    _define(hint, definitions)
    return _reference(hint)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")

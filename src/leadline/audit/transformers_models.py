"""Architectures of `transformers` by name: small ones with random weights, and real sizes on the meta device."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leadline.audit.small_settings import VARIANTS, small_settings
from leadline.errors import ModelError, UsageError, near_misses
from leadline.graph.user_code import raised_at, text_of
from leadline.key_values import literals, require

_LARGEST = 200_000_000
"""Parameters of a model that is still taken for small."""

Found = tuple[str, nn.Module, Mapping[str, Tensor], Mapping[str, str | None] | None]
"""The class's name, the model, its inputs by name, and their axes."""


def tiny_model(name: str, words: Sequence[str] = ()) -> Found:
    """Build an architecture small, with random weights: by class, by its name's beginning, or by its model type.

    ``"Qwen3"`` and ``"qwen3"`` are ``Qwen3ForCausalLM``; what has no such class is its bare model. The words are
    settings of the config, and ``length``, ``batch`` and ``seed``. Raises `UsageError` for what is not known, or where
    `transformers` is not installed; `ModelError` if the model cannot be built or called.
    """
    kind = _class_called(name)
    settings = literals(words)
    sizes = _taken(settings, length=12, batch=2, seed=0)
    default = _built(f"the config of {kind.__name__}", kind.config_class)
    known = {*default.to_dict(), *getattr(default, "attribute_map", {})}
    for key in settings:
        if key not in known:
            raise UsageError(f"{kind.__name__} has no setting {key!r}; {near_misses(key, {*known, *sizes})}")
    first = None
    for variant in VARIANTS:
        try:
            return _small(kind, small_settings(default, variant) | _decoding(kind, default) | settings, sizes)
        except ModelError as error:
            first = first or error
    assert first is not None
    raise first


def _decoding(kind: Any, default: Any) -> dict[str, bool]:
    """Tell an encoder with the head of a language model not to look ahead, as it does unless it is told."""
    head = kind.__name__.endswith(("ForCausalLM", "LMHeadModel", "WithLMHead"))
    return {"is_decoder": True} if head and hasattr(default, "is_decoder") else {}


def _small(kind: Any, settings: Mapping[str, Any], sizes: Mapping[str, int]) -> Found:
    """Build a model and call it once."""
    config = _built(f"the config of {kind.__name__}", lambda: kind.config_class(**settings))
    _refuse_large(kind, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sizes["seed"])
        model = _built(kind.__name__, lambda: kind(config).eval())
        inputs = _inputs(model, config, sizes["batch"], sizes["length"])
        return kind.__name__, model, inputs, _axes(model, inputs)


def model_of_folder(folder: Path, words: Sequence[str] = ()) -> Found:
    """Build the architecture that a folder's ``config.json`` describes, at its real sizes, on the meta device.

    Its weights are neither needed nor read, and nothing is downloaded. The words set ``length`` and ``batch``. Raises
    as `tiny_model` does.
    """
    hf = _transformers()
    if not os.path.isfile(folder / "config.json"):
        raise UsageError(
            f"there is no {folder / 'config.json'}: hf: takes a folder with a model's config, and downloads nothing "
            "(hf-tiny:NAME builds an architecture small, without any file)"
        )
    settings = literals(words)
    sizes = _taken(settings, length=128, batch=2)
    for key in settings:
        raise UsageError(f"hf: has no setting {key!r}; {near_misses(key, sizes)} (edit config.json for others)")
    only_data = {"local_files_only": True, "trust_remote_code": False}  # else it asks whether to run the folder's code
    config = _built(f"{folder / 'config.json'}", lambda: hf.AutoConfig.from_pretrained(folder, **only_data))
    config.use_cache = False
    kind = _class_called(str((getattr(config, "architectures", None) or [config.model_type])[0]))
    with torch.device("meta"):
        model = _built(kind.__name__, lambda: kind(config).eval())
        inputs = _inputs(model, config, sizes["batch"], sizes["length"])
    return kind.__name__, model, inputs, _axes_when_small(kind, config)


def _axes_when_small(kind: Any, config: Any) -> Mapping[str, str | None] | None:
    """Say which axes a model has that may not be called on the meta device, by a small one of its kind."""
    small = _built(f"the config of {kind.__name__}", lambda: kind.config_class(**small_settings(config)))
    with torch.random.fork_rng(devices=[]):
        model = _built(kind.__name__, lambda: kind(small).eval())
        return _axes(model, _inputs(model, small, batch=2, length=12))


def _transformers() -> Any:
    if importlib.util.find_spec("transformers") is None:
        raise UsageError("hf-tiny: and hf: need transformers: pip install 'leadline[hf]'")
    import transformers

    return transformers


def _class_called(name: str) -> Any:
    """Return the class that a name stands for, in the order that `tiny_model` says."""
    hf = _transformers()
    from transformers.models.auto import modeling_auto as auto

    mappings = (
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_MAPPING_NAMES,
    )
    by_type = {_plain(kind): found for mapping in reversed(mappings) for kind, found in mapping.items()}
    found = name if name in dir(hf) else by_type.get(_plain(name))
    for ending in ("ForCausalLM", "Model"):
        found = found or (f"{name}{ending}" if f"{name}{ending}" in dir(hf) else None)
    kind = None if found is None else getattr(hf, found if isinstance(found, str) else found[0], None)
    if not (isinstance(kind, type) and issubclass(kind, hf.PreTrainedModel) and getattr(kind, "config_class", None)):
        endings = ("Model", "ForCausalLM", "LMHeadModel")
        known = {n for n in dir(hf) if n.endswith(endings) and not n.startswith(("Auto", "PreTrained"))}
        stems = {n.removesuffix("ForCausalLM") for n in known}
        raise UsageError(f"transformers has no model {name!r}; {_closest(name, {*known, *stems})}")
    return kind


def _closest(name: str, known: set[str]) -> str:
    """Name near misses; of thousands of names not all."""
    said = near_misses(name, known)
    return said if said.startswith("did you mean") else "give a class, as BertModel, or its beginning, as Qwen3"


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _taken(settings: dict[str, Any], **defaults: int) -> dict[str, int]:
    """Take the sizes that are no settings of a config out of the settings."""
    sizes = {key: settings.pop(key, value) for key, value in defaults.items()}
    for key, value in sizes.items():
        require(key, int, value)
        if value < 1 and key != "seed":
            raise UsageError(f"{key} must be at least 1, got {value}")
    return sizes


def _refuse_large(kind: Any, config: Any) -> None:
    """Count the parameters before any memory is taken for them."""
    with torch.device("meta"):
        parameters = sum(p.numel() for p in _built(kind.__name__, lambda: kind(config)).parameters())
    if parameters > _LARGEST:
        raise ModelError(
            f"{kind.__name__} has {parameters:,} parameters even with the usual sizes made small: say which of its "
            "settings make it smaller, as key=value"
        )


def _inputs(model: Any, config: Any, batch: int, length: int) -> dict[str, Tensor]:
    """Make inputs up by the name of the model's main one; an encoder's decoder reads tokens."""
    text = config.get_text_config()
    name, most = model.main_input_name, getattr(text, "max_position_embeddings", None)
    length = min(length, most) if isinstance(most, int) and most > 0 else length
    tokens = torch.randint(3, max(4, min(90, getattr(text, "vocab_size", 90))), (batch, length))
    if name == "input_ids":
        inputs = {name: tokens}
    elif name == "pixel_values":
        seen = getattr(config, "vision_config", config)
        size = getattr(seen, "image_size", None) or 32
        height, width = (size, size) if isinstance(size, int) else size
        inputs = {name: torch.randn(batch, getattr(seen, "num_channels", 3), height, width)}
    elif name == "input_values":
        inputs = {name: torch.randn(batch, 100 * length)}
    elif name == "input_features" and hasattr(config, "max_source_positions"):
        inputs = {name: torch.randn(batch, config.num_mel_bins, 2 * config.max_source_positions)}
    else:
        raise UsageError(
            f"the main input of {type(model).__name__} is {name!r}, which cannot be made up: write a function that "
            "returns the model and its inputs, and give it as file.py:function"
        )
    return inputs | ({"decoder_input_ids": tokens} if config.is_encoder_decoder else {})


def _axes(model: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, str | None] | None:
    """Say which axes inputs and output have, where positions of the last input are positions of the output."""
    with torch.no_grad():
        outputs = _built(f"calling {type(model).__name__}", lambda: model(**inputs))
    read = list(inputs)[-1]
    for name in ("logits", "last_hidden_state"):
        found = getattr(outputs, name, None)
        if isinstance(found, Tensor) and read.endswith("input_ids") and found.shape[:-1] == inputs[read].shape:
            return {**dict.fromkeys(inputs), read: "b t", name: "b t v"}
    return None


def _built(what: str, build: Callable[[], Any]) -> Any:
    """Build a part; what `transformers` raises becomes one sentence."""
    try:
        return build()
    except UsageError:
        raise
    except Exception as error:
        raise ModelError(f"{what} raised {type(error).__name__}: {text_of(error)}{raised_at(error)}") from error

"""Models of the zoo with the Hugging Face Hub's ways to save, load and share; needs the extra ``hf``."""

from __future__ import annotations

from typing import Any

from torch import nn

from leadline.errors import needing
from leadline.zoo.table import build

with needing("hf", "sharing models on the Hub"):
    from huggingface_hub import PyTorchModelHubMixin


class HubModel(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="leadline",
    tags=["leadline", "autoregressive"],
):
    """A model of the zoo, by its name and settings, which `config.json` keeps beside the weights.

    `save_pretrained` writes a folder, `from_pretrained` reads one (or a repository of the Hub), `push_to_hub` uploads
    it. The zoo's own module is `model`, and its example inputs, axes and likelihood are those of `specimen`.

    Examples
    --------
    >>> shared = HubModel("wavenet", {"layers": 2, "length": 8, "classes": 4})
    >>> shared.specimen.layout, shared(*shared.specimen.inputs).shape
    ('b t -> b t v', torch.Size([2, 8, 4]))
    """

    def __init__(self, name: str, settings: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.specimen = build(name, **(settings or {}))
        self.model = self.specimen.model

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Return what the zoo's module returns."""
        return self.model(*inputs, **kwargs)

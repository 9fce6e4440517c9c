"""The zoo's table: one name per factory."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from leadline.errors import UsageError, near_misses
from leadline.zoo import settings as _settings
from leadline.zoo.batchnorm import batchnorm
from leadline.zoo.chain import chain
from leadline.zoo.gated_pixelcnn import gated_pixelcnn
from leadline.zoo.mdrnn import grid_rnn, mdrnn
from leadline.zoo.mlp import mlp
from leadline.zoo.pixelcnn import pixelcnn
from leadline.zoo.pixelcnn_plus import pixelcnn_plus
from leadline.zoo.pixelsnail import pixelsnail
from leadline.zoo.recurrent import gru, lstm, rnn
from leadline.zoo.residual import residual
from leadline.zoo.settings import Factory
from leadline.zoo.specimen import Specimen
from leadline.zoo.stacks import dilated_stack, masked_stack
from leadline.zoo.transformer import transformer
from leadline.zoo.wavenet import wavenet

ZOO: Mapping[str, Factory] = MappingProxyType(
    {
        "batchnorm": batchnorm,
        "chain": chain,
        "dilated-stack": dilated_stack,
        "gated-pixelcnn": gated_pixelcnn,
        "grid-rnn": grid_rnn,
        "gru": gru,
        "lstm": lstm,
        "masked-stack": masked_stack,
        "mdrnn": mdrnn,
        "mlp": mlp,
        "pixelcnn": pixelcnn,
        "pixelcnn-plus": pixelcnn_plus,
        "pixelsnail": pixelsnail,
        "residual": residual,
        "rnn": rnn,
        "transformer": transformer,
        "wavenet": wavenet,
    }
)


def build(name: str, **settings: Any) -> Specimen:
    """Build a model of the zoo.

    Parameters
    ----------
    name
        A key of `ZOO`.
    settings
        Fields of the model's config, and `batch` and `seed`; what is not given keeps its default.

    Raises
    ------
    UsageError
        An unknown name or setting (with near misses), or a value of the wrong type or outside its range.

    Examples
    --------
    >>> specimen = build("wavenet", layers=4, length=32)
    >>> specimen.layout, specimen.config.layers
    ('b t -> b t v', 4)
    """
    return _factory(name)(**settings)


def parse_settings(name: str, words: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` words, as from a command line, as settings of the model called `name`.

    Raises
    ------
    UsageError
        As `build`, and for a word without ``=`` or a setting given twice.

    Examples
    --------
    >>> parse_settings("wavenet", ["layers=4", "lag=0"])
    {'layers': 4, 'lag': 0}
    """
    return _settings.parse_settings(name, _factory(name), words)


def _factory(name: str) -> Factory:
    if name not in ZOO:
        raise UsageError(f"no model of the zoo is called {name!r}; {near_misses(name, ZOO)}")
    return ZOO[name]

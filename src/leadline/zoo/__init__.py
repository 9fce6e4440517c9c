"""Architectures to study and train: plain modules with a frozen config and a factory that returns a `Specimen`."""

from leadline.zoo.settings import settings_of
from leadline.zoo.specimen import Specimen
from leadline.zoo.table import ZOO, build, parse_settings

__all__ = ["ZOO", "Specimen", "build", "parse_settings", "settings_of"]

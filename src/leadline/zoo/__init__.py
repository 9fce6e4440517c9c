"""Architectures to study and train: plain modules with a frozen config and a factory that returns a `Specimen`."""

from leadline.zoo.specimen import Specimen
from leadline.zoo.table import ZOO, build, parse_settings

__all__ = ["ZOO", "Specimen", "build", "parse_settings"]

"""All depths of one model, composed, and of several side by side; finding a model by its name."""

from leadline.audit._check import Unavailable
from leadline.audit._compare import Trial

__all__ = ["Trial", "Unavailable"]

"""All depths of one model, composed, and of several side by side; finding a model by its name."""

from leadline.audit._compare import Trial
from leadline.audit.audited import Unavailable

__all__ = ["Trial", "Unavailable"]

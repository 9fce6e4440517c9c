"""One thread, one seed and a quiet, fast hypothesis profile for every test."""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "leadline",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "leadline"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)

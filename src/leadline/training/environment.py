"""What decides the last bits of a run beside its settings and data: versions, processor, threads, device."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import Any

import torch

NAMES = {"threads": "number of threads", "cpu": "processor", "processes": "number of processes"}


@dataclass(frozen=True)
class Environment:
    """Where a run was computed; in two that are equal, sums are rounded alike.

    `cpu` is the machine's architecture with the vector instructions that torch uses on it; `processes` is how many
    train together.
    """

    leadline: str
    torch: str
    cpu: str
    threads: int
    device: str
    processes: int = 1

    @classmethod
    def current(cls, device: torch.device, processes: int = 1) -> Environment:
        """Return that of this process, which computes on `device`, with others if there are several `processes`."""
        return cls(
            leadline=version("leadline"),
            torch=torch.__version__,
            cpu=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
            threads=torch.get_num_threads(),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
            processes=processes,
        )

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Environment:
        """Return the environment that a record describes, whatever else it holds."""
        return cls(**{field.name: record.get(field.name, field.default) for field in fields(cls)})

    def changes(self, now: Environment) -> str:
        """Say in words what is different now; empty if nothing is.

        Examples
        --------
        >>> before = Environment("0.1", "2.13.0", "x86_64 AVX2", 1, "cpu")
        >>> before.changes(Environment("0.1", "2.14.0", "x86_64 AVX2", 2, "cpu"))
        'its torch was 2.13.0 and is 2.14.0; its number of threads was 1 and is 2'
        """
        pairs = [(field.name, getattr(self, field.name), getattr(now, field.name)) for field in fields(self)]
        said = [f"its {NAMES.get(name, name)} was {was} and is {it}" for name, was, it in pairs if was != it]
        return "; ".join(said)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

"""What decides the last bits of a run beside its settings and data: versions, processor, threads, device."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from leadline.data import Batch
from leadline.errors import LeadlineError, needing

Answer = TypeVar("Answer")

NAMES = {"threads": "number of threads", "cpu": "processor", "processes": "number of processes"}


@dataclass(frozen=True)
class Environment:
    """Where a run was computed; in two that are equal, sums are rounded alike.

    `cpu` is the machine's architecture with the vector instructions that torch uses on it.
    """

    leadline: str
    torch: str
    cpu: str
    threads: int
    device: str
    processes: int = 1

    @classmethod
    def current(cls, device: torch.device, processes: int = 1) -> Environment:
        """Return that of this process, which computes on `device`, one of so many `processes`."""
        return cls(
            leadline=version("leadline"),
            torch=torch.__version__,
            cpu=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
            threads=torch.get_num_threads(),
            device=str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
            processes=processes,
        )

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Environment:
        """Return the environment that a record describes, whatever else it holds."""
        return cls(**{field.name: record[field.name] for field in fields(cls) if field.name in record})

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


@dataclass(frozen=True)
class Processes:
    """Processes that train together, as ``torchrun`` and ``accelerate launch`` start them, and the rank of this one.

    All of them take the same steps on the same weights, each with its part of every batch; the first one alone writes.
    """

    rank: int = 0
    number: int = 1

    @classmethod
    def current(cls, device: str | None) -> Processes:
        """Return those that the process's environment names, connected with each other."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        with needing("train", "training"):
            from accelerate import PartialState
        state = PartialState(cpu=device == "cpu")
        return cls(int(state.process_index), int(state.num_processes))

    def told(self, make: Callable[[], Answer]) -> Answer:
        """Return what the first process makes, or raise what it raises, in every process."""
        if self.number == 1:
            return make()
        box: list[Any] = [None]
        if self.rank == 0:
            try:
                box = [(make(), None)]
            except LeadlineError as refused:
                box = [(None, refused)]
        with _together():
            torch.distributed.broadcast_object_list(box, src=0)
        answer, refusal = box[0]
        if refusal is not None:
            raise refusal
        found: Answer = answer
        return found

    def share(self, batch: Batch, parts: int) -> Iterator[Batch]:
        """Yield this process's share of a batch, in a number of parts."""
        shares = list(batch.parts(self.number))
        if self.rank < len(shares):
            yield from shares[self.rank].parts(parts)

    def add_up(self, model: nn.Module, number: Tensor) -> Tensor:
        """Sum the gradients of a model over the processes, in place, and a number, which is returned."""
        if self.number == 1:
            return number
        parameters = [p for p in model.parameters() if p.requires_grad]
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([number.reshape(1).to(grads[0]), *(grad.reshape(-1) for grad in grads)])
        with _together():
            torch.distributed.all_reduce(flat)
        for grad, summed in zip(grads, flat[1:].split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(summed.view_as(grad))
        return flat[0].cpu()


@contextmanager
def _together() -> Iterator[None]:
    """Say in one sentence that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).partition("\n")[0]
        raise LeadlineError(f"another process of this training has ended ({said}); go on with --resume") from error

"""The monitor under the loops of others: their real packages, on the digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import leadline
from leadline.data import load
from leadline.errors import UsageError
from leadline.training import lightning_callback, trainer_callback

DIGITS = load("digits")
X = torch.stack([DIGITS.train.examples[i] for i in range(96)]).float().flatten(1) / 16
Y = torch.tensor([int(DIGITS.train.labels[i]) for i in range(96)])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = 32
        self.first = nn.Linear(64, width)
        self.layers = nn.Sequential(*[layer for _ in range(4) for layer in (nn.Linear(width, width), nn.Tanh())])
        self.last = nn.Linear(width, 10)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.last(self.layers(torch.tanh(self.first(pixel_values))))
        return logits if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}


def plain_loop(steps: int, batch: int, lr: float) -> tuple[Any, ...]:
    """The oracle: a loop written out, watched by the context manager."""
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    with leadline.monitor(model, every=2) as watch:
        for step in range(steps):
            at = slice(step * batch % 96, step * batch % 96 + batch)
            cross_entropy(model(X[at]), Y[at]).backward()
            optimizer.step()
            optimizer.zero_grad()
    return watch.records


def test_the_trainer_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = Net()
    data = [{"pixel_values": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    arguments = transformers.TrainingArguments(
        str(tmp_path / "out"), max_steps=6, per_device_train_batch_size=16, logging_steps=2, report_to=[],
        learning_rate=0.1, lr_scheduler_type="constant", max_grad_norm=0, use_cpu=True, save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    class InOrder(transformers.Trainer):  # type: ignore[misc,name-defined]
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(data)  # type: ignore[arg-type]

    trainer = InOrder(model, arguments, train_dataset=data, optimizers=(optimizer, None))
    callback = trainer_callback(trainer, every=2)
    trainer.add_callback(callback)
    trainer.train()
    expected = plain_loop(6, 16, 0.1)
    assert [record.step for record in callback.records] == [0, 2, 4]
    for found, wanted in zip(callback.records, expected, strict=True):
        assert found.stages == wanted.stages
        assert found.norms == pytest.approx(wanted.norms, rel=1e-4)
    history = trainer.state.log_history
    assert sum("gradient/rate" in line for line in history) == 3
    assert sum("loss" in line for line in history) == 3  # its own lines are not lost
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.filterwarnings("ignore")  # of Lightning's own about itself
@pytest.mark.parametrize("part", ["net", ""])
def test_the_trainer_of_lightning(part: str, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    torch.manual_seed(0)

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: Tensor) -> Any:
            return self.net(x)

        def training_step(self, batch: Any, _: int) -> Tensor:
            x, y = batch
            return cross_entropy(self(x), y)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Log(lightning.loggers.logger.DummyLogger):  # type: ignore[misc,name-defined]
        got: list[tuple[int, dict[str, float]]] = []  # noqa: RUF012

        def log_metrics(self, metrics: Any, step: int) -> None:
            self.got.append((step, metrics))

    module, callback, log = Module(), lightning_callback(every=2, part=part), Log()
    log.got.clear()
    loader = DataLoader(TensorDataset(X, Y), batch_size=16)
    trainer = lightning.Trainer(
        max_steps=6, accelerator="cpu", logger=log, callbacks=[callback], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, loader)
    expected = plain_loop(6, 16, 0.1)
    assert [record.step for record in callback.records] == [0, 2, 4]
    for found, wanted in zip(callback.records, expected, strict=True):
        assert found.norms == pytest.approx(wanted.norms, rel=1e-4)
    assert [step for step, values in log.got if "gradient/rate" in values] == [0, 2, 4]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in module.modules())


def test_a_part_that_is_not_there_is_named() -> None:
    pytest.importorskip("lightning.pytorch")
    callback = lightning_callback(part="nett")
    with pytest.raises(UsageError, match="has no part 'nett'; it has first, layers, last"):
        callback.on_train_start(None, Net())


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lightning.pytorch", None)
    monkeypatch.setitem(__import__("sys").modules, "lightning", None)
    with pytest.raises(UsageError, match=r"leadline\[lightning\]"):
        lightning_callback()

"""What is done for one cell: the model is built, perhaps trained, and measured; the answer is one file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from leadline import zoo
from leadline.audit._read import DepthReading
from leadline.audit.architecture import find_architecture
from leadline.audit.named_model import NamedModel, find_factory, find_model, from_specimen
from leadline.errors import LeadlineError, StorageError, UsageError
from leadline.graph.user_code import first_line, raised_at
from leadline.sweeps.cells import SweepFolder
from leadline.sweeps.grid import Cell
from leadline.sweeps.measures import Asked

_LONGEST = 2000


def work(cell: Cell, word: str, folder: Path) -> str:
    """Measure a cell, unless that was done, and write its file; return the cell's key.

    `word` names the model from wherever this runs. What goes wrong with the model is written down; only the disk's
    refusal, and the end of the process, leave nothing.
    """
    where = SweepFolder(folder)
    if where.finished(cell.key):
        return cell.key
    try:
        with _one_thread():
            measures = _measured(cell, word, where)
    except StorageError:
        raise
    except Exception as error:
        said = str(error) if isinstance(error, LeadlineError) else first_line(error)
        where.save(cell, {}, f"{type(error).__name__}: {said}{raised_at(error)}"[:_LONGEST])
    else:
        where.save(cell, measures)
    return cell.key


def _measured(cell: Cell, word: str, where: SweepFolder) -> dict[str, Any]:
    named, trained = _trained(cell, where) if cell.training is not None else (_built(cell, word), None)
    layout = named.layout if cell.layout is None else cell.layout
    reading = DepthReading(named.model, named.inputs, named.keywords, layout=layout, order=named.order)
    words = [f"{name}={value}" for name, value in cell.settings.items()]
    asked = Asked(reading, cell.seed, trained, lambda: find_architecture(word, words).laws(cell.layout))
    return {measure: asked.value(measure) for measure in cell.measures}


def _built(cell: Cell, word: str) -> NamedModel:
    """Build the model of a cell, with its seed."""
    if word in zoo.ZOO:
        return from_specimen(word, zoo.build(word, seed=cell.seed, **cell.settings))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        if word.startswith(("hf-tiny:", "hf:")):
            return find_model(word, [f"{name}={value}" for name, value in cell.settings.items()])
        if ":" not in word:
            raise UsageError(f"{word!r} has no settings to sweep over: name a model of the zoo, or file.py:factory")
        factory = find_factory(word)
        return factory(**cell.settings, **({"seed": cell.seed} if _takes_seed(factory) else {}))


def _takes_seed(factory: Callable[..., NamedModel]) -> bool:
    try:
        return "seed" in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin
        return False


def _trained(cell: Cell, where: SweepFolder) -> tuple[NamedModel, Any]:
    """Train the model of a cell, or go on with that; return the model as it was at its best, and the result."""
    from leadline.training import load_run
    from leadline.training.jobs import train_by_recipe

    assert cell.training is not None
    path, about = where.run(cell.key), dict(cell.training)
    words = [f"{name}={value}" for name, value in {**cell.settings, "seed": cell.seed}.items()]
    training = {**about["config"], "seed": cell.seed}
    train_by_recipe(cell.model, words, about["data"], path, training=training, options={}, resume=True)
    run = load_run(path)
    return from_specimen(cell.model, run.specimen, run), run.result


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: cells run side by side, and their last bits do not rest on how many there are."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)

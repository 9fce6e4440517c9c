"""`sweep`: a grid of settings and seeds, measured cell by cell; what is finished is never done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from leadline.errors import DataError, UsageError
from leadline.files.reading import read_bytes, read_record
from leadline.files.writing import write_atomically
from leadline.graph.user_code import foreseen
from leadline.sweeps.cells import SweepFolder, SweepRecord, read_back
from leadline.sweeps.cluster import cores, require_packages, work_here, work_on_dask
from leadline.sweeps.grid import Cell, Only, Value, cells_of, values_of
from leadline.sweeps.measures import names_of
from leadline.sweeps.swept import Swept
from leadline.sweeps.table import as_parquet, from_parquet
from leadline.zoo import ZOO

Setting = Value | Sequence[Value]


class Sweep:
    """Measure a model at every combination of settings, with several seeds; called as a function.

    Each cell of the grid is one file in the folder, written whole, whose name is the digest of model, settings, seed,
    measures and versions: called again, the sweep goes on where it was. A cell that failed is written down with its
    error, and tried again by the next call; a worker that dies loses nothing but the cell that it was at.

    Parameters
    ----------
    model
        A name of the zoo, ``file.py:factory`` or ``package.module:factory``; several, with commas between them, have a
        column `model`. A factory takes the settings as keywords, and `seed`, if it has a parameter of that name;
        torch's generator is seeded besides.
    settings
        For each setting a value, a list of values, or text, ``"4,8,16"`` or ``"0.5:3:0.5"``.
    measure
        Names of what is measured, each a column: ``"gradient.rate, reach.within(0.9), count.macs"``. They begin with
        `bound`, `causality`, `context`, `count`, `generation`, `gradient`, `law`, `lyapunov`, `memory`, `reach`,
        `remedies`, `span`, `spectrum`, `stream`, `system` or, of a training, `train`. Laws are those of a zoo model's
        architecture over depth, width and grid, as far as these are not set.
    folder
        Where the cells and the table go.
    seeds
        How many seeds, from 0 on: of the weights and inputs, and of what a measure draws.
    layout
        How axes are read; by default as the model says.
    train, data
        Minutes to train each cell for, or a dict of settings of the loop, ``{"steps": 200}``; and on what.
    workers
        Processes of one thread each; by default one for each processor, 0: this process alone, without Dask.
    scheduler
        Address of a Dask scheduler whose workers are to be used, ``"tcp://…"``; they must see the folder.
    console
        Where progress is shown; None: nowhere.
    only
        Takes the settings of a combination as a mapping, and says whether it is measured; by default all are.

    Returns
    -------
    Swept
        The table, which is also ``table.parquet`` in the folder; ``sweep.read(folder)`` reads it back.

    Raises
    ------
    UsageError
        If a model, setting or measure is unknown, or a package is missing: ``pip install 'leadline[sweep]'``.
    StorageError
        If the disk refuses.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     found = sweep("chain", {"layers": [4, 8]}, "gradient.total", folder, workers=0)
    ...     again = sweep.read(folder)
    >>> [row["layers"] for row in found.rows], again == found
    ([4, 8], True)
    """

    __name__ = "sweep"

    def __call__(
        self,
        model: str,
        settings: Mapping[str, Setting],
        measure: str | Sequence[str],
        folder: str | Path,
        *,
        seeds: int = 1,
        layout: str | None = None,
        train: float | Mapping[str, Value] | None = None,
        data: str = "digits",
        workers: int | None = None,
        scheduler: str | None = None,
        console: Console | None = None,
        only: Only | None = None,
    ) -> Swept:
        """See the class."""
        with foreseen("sweep"):
            require_packages(spread=workers != 0 or scheduler is not None)
            training = None if train is None else _training(model, train, data)
            how: dict[str, Any] = {"layout": layout, "training": training}
            values = values_of(f"{name}={_text(value)}" for name, value in settings.items())
            cells = cells_of(model, values, seeds, names_of(measure), only=only, **how)
            where = SweepFolder(Path(folder))
            where.make()
            request = _request(cells, seeds, how)
            where.save_request(request)
            try:
                _work(cells, where, workers, scheduler, console)
            finally:
                found = _gathered(where, cells, request)
            return found

    @staticmethod
    def read(folder: str | Path) -> Swept:
        """Read the table of a sweep back, also of one that was interrupted.

        Raises `DataError` if the folder holds none, or a file is damaged.
        """
        with foreseen("sweep.read"):
            where = SweepFolder(Path(folder))
            record = read_record(where.request, SweepRecord, DataError)
            columns, rows = from_parquet(read_bytes(where.table, DataError), str(where.table))
            missing = {*record.settings, "seed", *record.measures, "error"} - {*columns}
            if missing:
                raise DataError(f"{where.table} belongs to another sweep: it has no column {min(missing)!r}")
            settings = {name: tuple(values) for name, values in record.settings.items()}
            return Swept(record.model, settings, record.seeds, tuple(record.measures), rows, record.made_with)


sweep = Sweep()


def _text(value: Setting) -> str:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return ",".join(str(each) for each in values)


def _training(model: str, train: float | Mapping[str, Value], data: str) -> dict[str, Any]:
    for name in model.split(","):
        if name.strip() not in ZOO:
            raise UsageError(
                f"a sweep trains density models of the zoo, not {name!r}: leave train out, and train it yourself"
            )
    config = dict(train) if isinstance(train, Mapping) else {"minutes": float(train)}
    return {"data": data, "config": config}


def _request(cells: Sequence[Cell], seeds: int, how: Mapping[str, Any]) -> dict[str, Any]:
    first, models = cells[0], list(dict.fromkeys(cell.model for cell in cells))
    rows = [cell.row(several=len(models) > 1) for cell in cells]
    settings = {name: list(dict.fromkeys(row[name] for row in rows)) for name in rows[0]}
    made_with = ", ".join(dict.fromkeys(part for cell in cells for part in cell.version.split(", ")))
    about = {"model": ",".join(models), "settings": settings, "seeds": seeds, "measures": list(first.measures)}
    return {**about, **how, "made_with": made_with}


def _work(
    cells: Sequence[Cell], where: SweepFolder, workers: int | None, scheduler: str | None, console: Console | None
) -> None:
    """Work on the cells that are not finished, and show how far that is."""
    left = [cell for cell in cells if not where.finished(cell.key)]
    folder = where.path.resolve()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=console is None) as progress:
        task = progress.add_task("cells", total=len(cells), completed=len(cells) - len(left))

        def done() -> None:
            progress.advance(task)

        if not left:
            return
        if workers == 0 and scheduler is None:
            work_here(left, folder, done)
        else:
            number = min(len(left), cores() if workers is None else workers)
            work_on_dask(left, folder, done, workers=number, scheduler=scheduler)


def _gathered(where: SweepFolder, cells: Sequence[Cell], request: Mapping[str, Any]) -> Swept:
    """Gather the cells' files into the table, and write that."""
    measures, settings, rows = cells[0].measures, request["settings"], []
    for cell in cells:
        record = where.record(cell.key)
        found = record.measures if record is not None else {}
        rows.append(
            {
                **cell.row(several="," in request["model"]),
                "seed": cell.seed,
                **{name: read_back(found.get(name)) for name in measures},
                "error": "not reached" if record is None else record.error,
            }
        )
    content = as_parquet(rows, [*settings, "seed", *measures, "error"])
    write_atomically(where.table, content)
    _, read = from_parquet(content, str(where.table))
    values = {name: tuple(each) for name, each in settings.items()}
    return Swept(request["model"], values, request["seeds"], measures, read, request["made_with"])

"""The command line: parse, call, print."""

import errno
import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from leadline.cli.claims import claims
from leadline.cli.explorer import explorable, explored
from leadline.cli.gates import gated, gates_of, passed
from leadline.cli.scores import score
from leadline.cli.shared import (
    COUNT,
    DATA_OPTION,
    SEED,
    TRUST,
    Named,
    Rate,
    as_folder,
    of_users_own,
    place,
    read_as,
    reported,
    say,
    terminal,
)
from leadline.cli.streams import export, sample
from leadline.cli.sweeps import sweep
from leadline.cli.trials import trial
from leadline.errors import (
    LayoutError,
    LeadlineError,
    ModelError,
    StorageError,
    Unforeseen,
    UsageError,
    as_options,
)
from leadline.files.streams import complain, diverted, finish, prepare
from leadline.key_values import literals

_EXIT_CODES = """\b
Exit codes:
  0    done
  1    check --strict found a leak, a limit of the budget is exceeded, or cells of a sweep or a trial failed
  2    unusable words: an unknown model, setting or option
  3    the model or its inputs do not work
  4    a data set is missing, empty or malformed
  5    a run folder or checkpoint is missing, corrupt or foreign
  6    a loss, activation or logit is not finite
  7    the disk or a full output refused a write; what was there is intact
  8    another process is training in the run folder
  70   a bug of leadline's
  130  interrupted
  141  whoever read the output stopped reading
"""

_WELCOME = """leadline takes the depth of a neural network before anyone spends compute on it.
Three commands to try:

  leadline check wavenet layers=6 length=128     one model, on one screen
  leadline compare wavenet 'wavenet layers=2'    several models side by side
  leadline law masked-stack                      how depths grow with sizes

A model of your own is file.py:factory, a function that returns the model and
example inputs. `leadline --help` lists all commands, `leadline check --help`
all options of one."""


@click.group(
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    invoke_without_command=True,
)
@click.version_option(package_name="leadline")
@click.pass_context
def cli(context: click.Context) -> None:
    """Take the depth of a neural network before anyone spends compute on it, then run it at that depth.

    MODEL is a name of the zoo with key=value settings, a run folder, or file.py:factory or package.module:factory of
    your own, where the factory returns the model and its example inputs. It may also be a .pt2 file of an exported
    program, hf-tiny:NAME, which is that architecture of transformers made small, or hf:FOLDER with a config.json.
    """
    if context.invoked_subcommand is None:
        click.echo(_WELCOME)


@cli.command()
@click.argument("model")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@read_as
@TRUST
@click.option("--only", metavar="DEPTHS", help="Only these, e.g. 'causality,context'; default: all.")
@click.option("--rate", type=Rate(), help="Samples a second: times in ms too.")
@click.option("--full", is_flag=True, help="Print every figure and map, not the verdicts alone.")
@click.option("--quiet", is_flag=True, help="Print no report and no progress.")
@click.option("--position", help="Output position of the context map, e.g. '5,3'; default: the middle.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of everything random.")
@click.option("--on-unknown", type=click.Choice(["raise", "top"]), default="raise", show_default=True)
@click.option("--backward", is_flag=True, help="Count the multiply-accumulates of the backward pass too.")
@click.option("--remedies", is_flag=True, help="Try what mends a gradient that vanishes or explodes.")
@click.option("--strict", is_flag=True, help="Exit with 1 if the model leaks.")
@explorable
@gated
@reported
@click.pass_obj
def check(
    command: str, /, model: str, settings: Sequence[str], json: Path | None, html: Path | None, strict: bool, **how: Any
) -> int:
    """Print the verdicts on MODEL, each with how it is known and what to do; on one screen, or --full."""
    from leadline.audit._check import audit_of, depths_named
    from leadline.audit.audited import About
    from leadline.audit.named_model import find_model
    from leadline.report.audit_document import describe_audit
    from leadline.report.drawings.maps import maps_of
    from leadline.report.exports import samples_of
    from leadline.report.progress import watching
    from leadline.report.writing import publish

    gates, axes = gates_of(how), {name: how.pop(name) for name in ("layout", "order", "output")}
    position, only, full, quiet, explorer = map(how.pop, ("position", "only", "full", "quiet", "explorer"))
    trust = how.pop("trust")
    how |= {"position": None if position is None else place(position), "only": depths_named(only, strict=strict)}
    with diverted(), watching(terminal(), quiet=quiet) as watch:  # what a model or its factory prints is no report
        named = find_model(model, settings, trust=trust)
        reading = named.reading(**axes)
        about = About(named.name, named.settings, command, how.pop("rate"))
        audit = audit_of(reading, about=about, longer=True, watch=watch, **how)
    drawn = () if html is None or named.run is None else samples_of(named.run, seed=how["seed"])
    seen = None if html is None else maps_of(reading, audit, on_unknown=how["on_unknown"])
    publish(
        lambda: describe_audit(audit, named.run, drawn, seen),
        audit.to_dict(), json=json, html=html, quiet=quiet, page=lambda: describe_audit(audit, named.run, full=full),
    )  # fmt: skip
    explored(reading, model, explorer, how["on_unknown"])
    kept = passed(audit, model, settings, axes, **gates, aside=quiet or str(json) == "-")
    if audit.unread and (quiet or str(json) == "-"):
        raise LayoutError(audit.unread)  # which the page says otherwise
    return LayoutError.exit_code if audit.unread else int(not kept or (strict and audit.leaks))


@cli.command()
@click.argument("models", nargs=-1, required=True, metavar="A B [C]...")
@click.option(
    "--samples", type=COUNT, default=16, show_default=True, help="Samples drawn from each trained model, and timed."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of everything random.")
@click.option("--full", is_flag=True, help="Print every figure, map and sample, not the verdicts alone.")
@TRUST
@reported
@click.pass_obj
def compare(
    command: str, /, models: Sequence[str], samples: int, seed: int, full: bool, trust: bool, **files: Path | None
) -> None:
    """Put the depths of two or more models side by side, on one screen; or --full.

    A, B and C are MODELs; settings follow the name inside quotes: 'pixelcnn layers=3'.
    """
    from leadline.audit._compare import compare_named
    from leadline.audit.named_model import find_model
    from leadline.report.comparison_document import describe_comparison
    from leadline.report.writing import publish

    if not all(map(str.split, models)):
        raise UsageError("the name of a model is empty")
    with diverted():
        found = [find_model(name, settings, trust=trust) for name, *settings in map(str.split, models)]
        comparison = compare_named(*found, samples=samples, seed=seed, command=command)
    publish(
        lambda: describe_comparison(comparison), comparison.to_dict(),
        json=files["json"], html=files["html"], page=lambda: describe_comparison(comparison, full=full),
    )  # fmt: skip


_LAWS = """\b
Examples:
  leadline law pixelcnn
  leadline law masked-stack d=1..6 k=1..4 kernel=5
  leadline law my_model.py:factory depth=1..6 width=1..4 --layout 'b c t -> b v t'
"""


@cli.command(epilog=_LAWS)
@click.argument("model")
@click.argument("sizes", nargs=-1, metavar="[SIZE=VALUES]...")
@read_as
@reported
def law(model: str, sizes: Sequence[str], json: Path | None, html: Path | None, **how: Any) -> None:
    """Find how the depths of MODEL grow with its sizes, as exact formulas.

    SIZE=1..5 or SIZE=1,2,4 varies a size, SIZE=3 sets it. Models of the zoo take their settings by name or by the
    letters of the theory (d layers, k channels in and out, s skip channels, H, W, T the grid); by default d and k vary.
    Your own factory is called with its sizes as keywords.
    """
    from leadline.audit.architecture import find_architecture
    from leadline.report.laws_document import describe_laws, laws_record
    from leadline.report.writing import publish

    with diverted(), terminal().status("deriving equations at many sizes"):
        architecture = find_architecture(model, sizes)
        laws = architecture.laws(**how)
    command = click.get_current_context().obj or ""
    publish(lambda: describe_laws(architecture, laws, command), laws_record(architecture, laws), json=json, html=html)


@cli.command()
@click.argument("model")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--data", required=True, help="digits, pydoc, …, or a folder of pictures, sounds or texts.")
@click.option("--recipe", help="A documented setting to start from; default: the one for this model and data, if any.")
@click.option("--run", "--folder", "run", type=Named(), help="Run folder; default: runs/MODEL-DATA.")
@click.option("--resume", is_flag=True, help="Go on where the run folder stands; with more --steps, further.")
@click.option("--allow-changes", is_flag=True, help="Resume under another torch, processor or code: noted.")
@click.option("--from", "start", type=Named(), metavar="RUN", help="Begin with the best weights of another run.")
@click.option("--minutes", type=float, help="Wall time for everything, the test score included.")
@click.option("--steps", type=COUNT, help="Training steps.")
@click.option("--seed", type=SEED, help="Seed of weights, data order and dropout.")
@click.option("--train", "-t", multiple=True, metavar="KEY=VALUE", help="A setting of the training loop: lr=3e-4.")
@DATA_OPTION
@of_users_own
@click.option("--track", multiple=True, metavar="NAME", help="A tracker: tensorboard, wandb, trackio, …")
def train(model: str, settings: Sequence[str], data: str, recipe: str | None, **options: Any) -> None:
    """Train a density model, of the zoo or file.py:factory, in a run folder that can be resumed bit for bit."""
    from leadline.audit.trained import keep_usual
    from leadline.audit.users_runs import train_named
    from leadline.training.processes import Processes

    run = options["run"] or Path("runs") / f"{as_folder(model)}-{as_folder(Path(data).name)}"
    given = {key: options[key] for key in ("minutes", "steps", "seed") if options[key] is not None}
    how = {name: options[name] for name in ("resume", "allow_changes", "likelihood", "layout", "start")}
    how |= {
        "trackers": options["track"],
        "training": {**literals(options["train"]), **given},
        "options": literals(options["data_option"]),
    }
    with diverted():  # what a model or its factory prints is no report
        result = train_named(model, settings, data, run, recipe=recipe, console=terminal(), **how)
    if not Processes.here().leads:
        return
    say(f"{run}: {result.steps} steps in {result.seconds:.0f} s, {result.parameters} parameters")
    say(f"test: {result.test}")
    with terminal().status("keeping a sampler"):
        keep_usual(run)


for other in (claims, export, sample, score, sweep, trial):
    cli.add_command(other)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error ends in one sentence and an exit code."""
    prepare()
    code, message = _ended(arguments)
    if message:
        complain(f"leadline: {message}")
    sys.exit(finish(code))


def _ended(arguments: list[str] | None) -> tuple[int, str]:
    """Run a command; return its exit code, and what is to be said where it did not end well."""
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        return code if isinstance(code, int) else 0, ""
    except click.ClickException as error:
        return UsageError.exit_code, error.format_message()
    except (click.Abort, KeyboardInterrupt):
        return 130, "interrupted"
    except Unforeseen as error:
        return _unforeseen(error.__cause__ or error)
    except LeadlineError as error:
        return error.exit_code, as_options(str(error))
    except BaseException as error:
        chain = error
        while chain.__context__ is not None and not isinstance(chain, OSError):
            chain = chain.__context__
        if isinstance(chain, BrokenPipeError):
            return 141, ""  # whoever read our output has gone: what a shell says of a program that SIGPIPE ended
        if isinstance(chain, OSError) and chain.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return StorageError.exit_code, f"the output could not be written: {chain.strerror}"
        return _unforeseen(error)


def _run(words: list[str]) -> Any:
    """Run a command as click's own `main` does, but for closed pipes, of which that makes a 1."""
    if "_LEADLINE_COMPLETE" in os.environ:  # a shell asks how words go on
        return cli.main(args=words, prog_name="leadline")
    try:
        with cli.make_context("leadline", list(words), obj=shlex.join(["leadline", *words])) as context:
            return cli.invoke(context)
    except click.exceptions.Exit as left:
        return left.exit_code


def _unforeseen(error: BaseException) -> tuple[int, str]:
    """Tell errors of the user's code, and of a machine that is too small, from bugs of ours."""
    from leadline.graph.user_code import first_line, is_theirs, raised_at

    said = f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, MemoryError) or re.search(r"allocate memory|out of memory|Unable to allocate", said):
        return ModelError.exit_code, f"this takes more memory than there is ({said}); choose smaller sizes"
    if isinstance(error, SystemExit) or is_theirs(error):
        return ModelError.exit_code, f"the model's own code raised {said}{raised_at(error)}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="leadline-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            traceback.print_exception(error, file=file)
        where = f"with {file.name}"
    except OSError:
        where = "with the whole command"
    return 70, f"this is a bug of leadline's: {said}; please report it {where}"

"""Streams on the command line: drawing from them, and writing them for other programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leadline.cli.shared import COUNT, SEED, TRUST, Named, read_as, say, terminal, writable
from leadline.errors import UsageError
from leadline.files.streams import diverted

if TYPE_CHECKING:
    from leadline.audit.trained import Drawn

_SAMPLES = """\b
Examples:
  leadline sample runs/pixelcnn-digits -n 4
  leadline sample my_model.py:wavenet --wav out.wav --rate 16000 --length 32000
"""


@click.command(epilog=_SAMPLES)
@click.argument("run", type=Named(), metavar="RUN|MODEL")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-n", type=COUNT, help="Number of samples; default: 16, or one for each --label.")
@click.option(
    "--out",
    "--wav",
    type=click.Path(path_type=Path),
    callback=writable,
    help="A .png, .wav, .flac, .txt or .npy file; default: a new one in the run folder.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Sample i depends on the seed and on i only.")
@click.option("--temperature", default=1.0, show_default=True, help="Divides the logits; 0 takes the most probable.")
@click.option("--top-k", type=COUNT, help="Draw from the k most probable classes only.")
@click.option("--length", type=COUNT, help="Samples of sound, symbols of text, or rows of pixels.")
@click.option("--backend", type=click.Choice(["numba", "c", "torch"]), help="What draws; c: compiled here.")
@click.option("--keep", type=float, metavar="FRACTION", help="Of a run: complete test examples, of which this is kept.")
@click.option(
    "--label",
    metavar="CLASS[,CLASS]...",
    help="Of a run: the class to draw, or one for each sample, by number or name: 3 or 0,1,2 or cat.",
)
@click.option(
    "--like", type=Named(), metavar="SOUND",
    help="Of a run on spectrograms: draw what sounds like this wav or FLAC; default: like validation examples.",
)  # fmt: skip
@click.option("--naive", is_flag=True, help="Of a run: a full forward pass for each symbol, the sampler's oracle.")
@TRUST
@click.option("--rate", type=COUNT, help="Of your own model: samples of its sound a second; default: 16000.")
@click.option("--layout", help="Of your own model: axes in einops notation, e.g. 'b t -> b t v'.")
def sample(run: Path, settings: Sequence[str], n: int | None, rate: int | None, layout: str | None, **how: Any) -> None:
    """Draw from a trained model, whose run may go on meanwhile, or sound from a MODEL of your own, as file.py:factory.

    Samples that stand in the run folder stay. The classes of your own model are the levels of a µ-law, as WaveNet's
    are.
    """
    from leadline.cli.again import classes_of
    from leadline.sampling.compiled.kept import USUAL

    if ":" in str(run) and not os.path.exists(run):
        say(_drawn_from_own(str(run), settings, n or USUAL, rate or 16_000, layout, how))
    elif settings or rate or layout:
        raise UsageError("a run folder has its own settings, rate and layout")
    else:
        label = None if how["label"] is None else classes_of(run, how["label"])
        n = n or (len(label) if label is not None and len(label) > 1 else USUAL)
        say(_drawn_from_run(run, n, **{**how, "label": label}))


def _drawn_from_run(
    run: Path,
    n: int,
    *,
    out: Path | None,
    keep: float | None,
    like: Path | None,
    trust: bool,
    backend: Any,
    **how: Any,
) -> str:
    """Draw from a run, into its folder or elsewhere; a run that keeps a sampler derives none."""
    from leadline.cli.again import asked_of, drawn_again

    usual = not trust and keep is None and like is None and backend is None
    asked = asked_of(run, n, **how) if usual else None
    if asked is not None and (said := drawn_again(run, n, asked, out, **how)) is not None:
        return said
    from leadline.audit.conditioning import heard_in
    from leadline.audit.trained import beginnings, draw
    from leadline.audit.users_runs import open_run
    from leadline.files.temporary import remove_leftovers
    from leadline.report.exports import check_suffix, suffixes_of, write_new, write_samples

    with diverted():
        trained = open_run(run, trust=trust)
    kind, rate = trained.data["kind"], trained.data.get("rate")
    path = out or run / f"samples-{how['seed']}{suffixes_of(kind, rate)[0]}"
    check_suffix(path, kind, rate)
    if out is None:
        remove_leftovers(run)
    if trained.lag == 0 and keep is None:
        raise UsageError("the model says what comes next, and nothing of a first symbol: --keep 0.1 completes examples")
    given = None if keep is None else beginnings(trained.dataset(), n, keep)
    if given is not None and given.ndim == 2 and not trained.data.get("picture"):
        how["length"] = _length_after(given.shape[1], keep, trained.specimen.inputs[0].shape[1], how["length"])
    heard = None if like is None and trained.specimen.frames is None else heard_in(trained, like, n)
    with diverted():  # what a model of the user's prints is no report
        drawn = draw(trained, n, given=given, frames=heard, asked=asked, backend=backend, **how)
    return _said(write_new(drawn, path) if out is None else write_samples(drawn, path), n, drawn)


def _length_after(kept: int, keep: float | None, usual: int, asked: int | None) -> int | None:
    """Return how long a sequence becomes that begins with what is kept: as asked, as usual or as the example was."""
    if asked is not None and asked <= kept:
        raise UsageError(f"--keep {keep} keeps {kept} symbols, and --length {asked} leaves nothing to draw")
    return asked if asked is not None or usual > kept or keep is None else max(kept + 1, round(kept / keep))


def _drawn_from_own(
    word: str, settings: Sequence[str], n: int, rate: int, layout: str | None, how: dict[str, Any]
) -> str:
    """Draw sound from a model by its name."""
    from leadline.audit.named_model import find_model
    from leadline.audit.own_sound import draw_sound
    from leadline.report.exports import check_suffix, write_samples

    out = how["out"]
    if how["keep"] is not None or how["label"] is not None or how["like"] is not None or how["naive"]:
        raise UsageError("--keep, --label, --like and --naive are for runs: a factory's model is drawn from as it is")
    if out is None:
        raise UsageError("say where the sound goes: --wav out.wav")
    check_suffix(out, "audio", rate)
    given = {name: how[name] for name in ("seed", "temperature", "top_k", "length")}
    given |= {"backend": how["backend"]} if how["backend"] else {}
    with diverted():
        drawn = draw_sound(find_model(word, settings).reading(layout=layout), n, rate=rate, **given)
    return _said(write_samples(drawn, out), n, drawn)


def _said(path: Path, n: int, drawn: Drawn) -> str:
    """Say where samples are, and how they were drawn."""
    many = "1 sample" if n == 1 else f"{n} samples"
    said = f"{path}: {many} in {drawn.seconds:.2f} s ({drawn.sampler} sampler, seed {drawn.seed})"
    why = f"\na full forward pass for each symbol, since no sampler is derived: {drawn.reason}" if drawn.reason else ""
    return said + why


@click.command()
@click.argument("model")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@read_as
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    callback=writable,
    help="A file NAME.c, NAME.onnx or NAME.pt2.",
)
@click.option(
    "--length", type=COUNT, help="Most positions of a sequence, for attention; default: as the model's inputs."
)
@click.option("--compare", type=COUNT, default=10_000, show_default=True, help="Positions compared with the model.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the inputs compared on.")
@click.option("--chunk", type=COUNT, help="Positions that a graph takes at once; default: any, or 1 with recurrences.")
@TRUST
def export(model: str, settings: Sequence[str], out: Path, length: int | None, trust: bool, **how: Any) -> None:
    """Write the stream of a causal MODEL for other programs, and a certificate of what was compared.

    As one C file and its header, as an ONNX graph, or as an exported program of torch's, by the suffix of --out.
    """
    from leadline.audit.named_model import find_model
    from leadline.sampling._stream import stream_of

    axes = {name: how.pop(name) for name in ("layout", "order", "output")}
    with diverted(), terminal().status("deriving, compiling and comparing"):
        reading = find_model(model, settings, trust=trust).reading(**axes)
        made = stream_of(reading, backend="torch").export(out, length=length, **how)
    say(str(made))

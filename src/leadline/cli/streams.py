"""Streams on the command line: drawing from them, and writing them for other programs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from leadline.cli.shared import COUNT, SEED, Named, read_as, say, terminal, writable
from leadline.errors import UsageError
from leadline.files.streams import diverted

_SAMPLES = """\b
Examples:
  leadline sample runs/pixelcnn-digits -n 4
  leadline sample my_model.py:wavenet --wav out.wav --rate 16000 --length 32000
"""


@click.command(epilog=_SAMPLES)
@click.argument("run", type=Named(), metavar="RUN|MODEL")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-n", type=COUNT, default=16, show_default=True, help="Number of samples.")
@click.option(
    "--out",
    "--wav",
    type=click.Path(path_type=Path),
    callback=writable,
    help="A .png, .wav, .flac or .npy file; default: into the run folder.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Sample i depends on the seed and on i only.")
@click.option("--temperature", default=1.0, show_default=True, help="Divides the logits; 0 takes the most probable.")
@click.option("--top-k", type=COUNT, help="Draw from the k most probable classes only.")
@click.option("--length", type=COUNT, help="Samples of sound, or rows of pixels.")
@click.option("--backend", type=click.Choice(["numba", "c", "torch"]), help="What draws; c: compiled here.")
@click.option("--keep", type=float, metavar="FRACTION", help="Of a run: complete test examples, of which this is kept.")
@click.option("--label", type=click.IntRange(0), help="Of a run: the class to draw, for conditional models.")
@click.option("--naive", is_flag=True, help="Of a run: a full forward pass for each symbol, the sampler's oracle.")
@click.option("--rate", type=COUNT, help="Of your own model: samples of its sound a second; default: 16000.")
@click.option("--layout", help="Of your own model: axes in einops notation, e.g. 'b t -> b t v'.")
def sample(
    run: Path, settings: Sequence[str], out: Path | None, rate: int | None, layout: str | None, **how: Any
) -> None:
    """Draw from a trained model, whose run may go on meanwhile, or sound from a MODEL of your own, as file.py:factory.

    The classes of your own model are the levels of a µ-law, as WaveNet's are.
    """
    if ":" in str(run) and not os.path.exists(run):
        path, drawn = _drawn_from_own(str(run), settings, out, rate, layout, how)
    elif settings or rate or layout:
        raise UsageError("a run folder has its own settings, rate and layout")
    else:
        path, drawn = _drawn_from_run(run, out, how)
    many = "1 sample" if how["n"] == 1 else f"{how['n']} samples"
    say(f"{path}: {many} in {drawn.seconds:.2f} s ({drawn.sampler} sampler, seed {drawn.seed})")


def _drawn_from_run(run: Path, out: Path | None, how: dict[str, Any]) -> tuple[Path, Any]:
    """Draw from a run, into its folder or elsewhere."""
    from leadline.audit.trained import beginnings, draw
    from leadline.files.temporary import remove_leftovers
    from leadline.report.exports import check_suffix, write_samples
    from leadline.training import load_run

    trained = load_run(run)
    rate = trained.data.get("rate")
    path = out or run / f"samples-{how['seed']}{'.png' if rate is None else '.wav'}"
    check_suffix(path, rate)
    if out is None:
        remove_leftovers(run)
    n, keep = how.pop("n"), how.pop("keep")
    drawn = draw(trained, n, given=None if keep is None else beginnings(trained.dataset(), n, keep), **how)
    write_samples(drawn, path)
    how["n"] = n
    return path, drawn


def _drawn_from_own(
    word: str, settings: Sequence[str], out: Path | None, rate: int | None, layout: str | None, how: dict[str, Any]
) -> tuple[Path, Any]:
    """Draw sound from a model by its name."""
    from leadline.audit.named_model import find_model
    from leadline.audit.own_sound import draw_sound
    from leadline.report.exports import check_suffix, write_samples

    if how["keep"] is not None or how["label"] is not None or how["naive"]:
        raise UsageError("--keep, --label and --naive are for runs: a factory's model is drawn from as it is")
    if out is None:
        raise UsageError("say where the sound goes: --wav out.wav")
    check_suffix(out, rate or 16_000)
    given = {name: how[name] for name in ("n", "seed", "temperature", "top_k", "length")}
    given |= {"backend": how["backend"]} if how["backend"] else {}
    with diverted():
        drawn = draw_sound(find_model(word, settings).reading(layout=layout), rate=rate or 16_000, **given)
    write_samples(drawn, out)
    return out, drawn


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
def export(model: str, settings: Sequence[str], out: Path, length: int | None, **how: Any) -> None:
    """Write the stream of a causal MODEL for other programs, and a certificate of what was compared.

    As one C file and its header, as an ONNX graph, or as an exported program of torch's, by the suffix of --out.
    """
    from leadline.audit.named_model import find_model
    from leadline.sampling._stream import stream_of

    axes = {name: how.pop(name) for name in ("layout", "order", "output")}
    with diverted(), terminal().status("deriving, compiling and comparing"):
        made = stream_of(find_model(model, settings).reading(**axes), backend="torch").export(out, length=length, **how)
    say(str(made))

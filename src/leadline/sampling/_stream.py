"""`stream`: a model run one point, or one front of points, at a time, doing only what is new there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from leadline.domains.arguments import public
from leadline.errors import LayoutError, NotCausal, NotUniform, UsageError
from leadline.graph.layout import LayoutLike
from leadline.graph.layout import Order as Axes
from leadline.graph.reading import Reading
from leadline.likelihoods import Likelihood
from leadline.recurrence.rates.rows import CUT_AND_FILLED
from leadline.sampling.backends import Backend, Stored
from leadline.sampling.drawing import Encode
from leadline.sampling.rates import FrameStream, rated_source_of
from leadline.sampling.rates.drawing import Order
from leadline.sampling.rates.source import RatedSource
from leadline.sampling.source import Source, folded
from leadline.sampling.streaming import Stream
from leadline.sampling.within.inside import Inside

if TYPE_CHECKING:
    pass


@public("stream")
def stream(
    model: nn.Module,
    *inputs: Any,
    layout: LayoutLike = None,
    order: Axes = None,
    output: str | None = None,
    likelihood: Likelihood | None = None,
    encode: Encode | None = None,
    backend: Backend = "auto",
    wavefront: bool = True,
    weights: Stored | None = None,
    within: float | None = None,
    compared_on: Tensor | None = None,
    **kwargs: Any,
) -> Stream | FrameStream:
    """Derive a sampler, and a live stream, from a causal model, which is read in evaluation mode and left in its own.

    Symbols along the fastest axis of the order may follow one another within a point, as colours within a pixel: what
    rests on the first of them is computed before the second is drawn.

    Where strides, transposed convolutions, enlargements or patches change the grid of positions, the stream is one of
    frames (`FrameStream`), which may look ahead, and runs on torch.

    Parameters
    ----------
    model, inputs, kwargs, layout, order, output
        As in `leadline.read`; conditioning is fixed at the given values.
    likelihood
        The distribution that the output describes; default for integer inputs: categorical over the output's channels,
        Bernoulli if there are none.
    encode
        From drawn symbols ``(n, points)`` to what the model reads, features last; default: the likelihood's.
    backend
        ``"numba"`` is the CPU's fast path; ``"c"`` is what `Stream.export` writes, compiled by the system's compiler
        where there is one; ``"torch"`` runs anywhere; ``"auto"`` takes the first where it is installed and runs the
        model, else torch: the stream's `backend` says which, and `reason` why.
    wavefront
        Compute independent points of a grid together; False: raster order, with the least state.
    weights
        How the compiled path stores the weights of products, which are multiplied as the model's numbers are:
        ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"int8"`` with a scale for each row; None: as the model has
        them. What it costs is `Stream.narrowed`.
    within, compared_on
        The largest difference of an output that narrower weights may make, on inputs like the streamed one or,
        without it, on random inputs.

    Raises
    ------
    NotUniform
        If no system of recurrence equations describes the model.
    NotCausal
        If an output depends on what comes after it; with the witness.
    UsageError
        Among others, if narrower weights change an output by more than `within`.

    Examples
    --------
    >>> from leadline.zoo import build
    >>> specimen = build("wavenet", classes=4, layers=2, length=6)
    >>> sampler = stream(specimen.model, *specimen.inputs, layout=specimen.layout, backend="torch")
    >>> sampler
    <Stream of WaveNet along t: lag 1, backend torch>
    >>> sampler.generate(2, length=9).shape, sampler.lag
    (torch.Size([2, 9]), 1)
    """
    reading = Reading(model, inputs, kwargs, layout=layout, order=order, output=output)
    how: dict[str, Any] = {"weights": weights, "within": within, "compared_on": compared_on}
    return stream_of(reading, likelihood=likelihood, encode=encode, backend=backend, wavefront=wavefront, **how)


def stream_of(
    reading: Reading,
    *,
    likelihood: Likelihood | None = None,
    encode: Encode | None = None,
    backend: Backend = "auto",
    wavefront: bool = True,
    weights: Stored | None = None,
    within: float | None = None,
    compared_on: Tensor | None = None,
) -> Stream | FrameStream:
    """Return the stream of a reading; see `stream`."""
    if weights is None and (within is not None or compared_on is not None):
        raise UsageError("within= and compared_on= say what narrower weights may cost: say which, weights=")
    source = Source(reading.in_evaluation())
    try:
        _ = source.system
    except NotUniform as error:
        refused = error
        if weights is None:
            try:
                return _of_frames(reading, error, likelihood, encode, backend)
            except NotUniform as unframed:
                refused = unframed
                if CUT_AND_FILLED in str(unframed):  # with points folded the system would not know of the end
                    raise
        found = _of_points(source.reading, refused, likelihood, encode, backend)
        if isinstance(found, FrameStream):
            return found
        source = found
    made = Stream(source, likelihood, encode, backend, wavefront, weights)
    if within is not None or compared_on is not None:
        made.compare_weights(compared_on, within)
    return made


def _of_points(
    reading: Reading, refused: NotUniform, likelihood: Likelihood | None, encode: Encode | None, backend: Backend
) -> Source | FrameStream:
    """Return a source, or a stream in frames, in which the fastest axis lies within points.

    Raise `refused`, and why not, if there is none.
    """
    found = folded(reading)
    if found is None or found.inside is None:
        raise refused
    try:
        _ = found.within
    except NotUniform as error:
        apart = error
    else:
        return found
    try:
        return _of_frames(found.reading, apart, likelihood, encode, backend, found.inside)
    except NotUniform as error:
        why = error if "a point rests on symbol" not in str(apart) else apart
        if str(why) == str(refused):
            raise refused from None
        raise NotUniform(f"{refused}; with those along {found.inside.axis} within a point: {why}") from None


def _of_frames(
    reading: Reading,
    refused: NotUniform,
    likelihood: Likelihood | None,
    encode: Encode | None,
    backend: Backend,
    inside: Inside | None = None,
) -> FrameStream:
    """Return the stream of a model of several rates; where there is none, raise why none is uniform, or none at all."""
    try:
        source = rated_source_of(reading, inside)
        if inside is not None:
            _refuse_out_of_order(source)
        if backend == "c":
            raise NotUniform("no C is written for a model whose positions change their rate: leave backend= out")
        return FrameStream(source, likelihood, encode, "numba" if backend == "auto" else backend)
    except LayoutError:
        raise refused from None
    except NotUniform as error:
        if str(error).split(":")[0] == str(refused).split(":")[0]:
            raise refused from None
        raise error from None


def _refuse_out_of_order(source: RatedSource) -> None:
    """Refuse outputs that rest on later symbols, as far as the equations tell, which may be more than there is."""
    try:
        Order(source, source.system.sizes[0]).checked()
    except NotCausal as error:
        raise NotUniform(f"as far as the equations tell, {error}") from None

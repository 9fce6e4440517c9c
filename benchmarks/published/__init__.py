"""The models of the census, by area."""

from published import flows, graphs, images, language, sequences, sounds
from published.entry import Published

CENSUS: tuple[Published, ...] = (
    *language.MODELS,
    *sequences.MODELS,
    *sounds.MODELS,
    *images.MODELS,
    *flows.MODELS,
    *graphs.MODELS,
)

"""Abstract interpretation over the graph: what can be said of a model without running it."""

from leadline.domains._causality import Causality, Verdict, causality
from leadline.domains._context import Context, context
from leadline.domains._count import Backward, Count, Tally, count
from leadline.domains._generation import Generation, generation
from leadline.domains._memory import Memory, memory
from leadline.domains._span import Span, Step, span
from leadline.domains.dependence.witness import Witness

__all__ = [
    "Backward",
    "Causality",
    "Context",
    "Count",
    "Generation",
    "Memory",
    "Span",
    "Step",
    "Tally",
    "Verdict",
    "Witness",
    "causality",
    "context",
    "count",
    "generation",
    "memory",
    "span",
]

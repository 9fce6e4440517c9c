"""Abstract interpretation over the graph: what can be said of a model without running it."""

from leadline.domains.counts import Count, Tally, count
from leadline.domains.generations import Generation, generation
from leadline.domains.reach import Context, context
from leadline.domains.saved import Memory, memory
from leadline.domains.spans import Span, Step, span
from leadline.domains.verdicts import Causality, Verdict, causality
from leadline.domains.witness import Witness

__all__ = [
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

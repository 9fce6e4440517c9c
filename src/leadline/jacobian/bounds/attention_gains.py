"""How much attention can stretch a perturbation: ``d(P V) = P dV + dP V``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from leadline.domains.engine import NoRule
from leadline.domains.operations.attentions import attention_of, by_query_heads, causal_pairs
from leadline.domains.values.interval_arithmetic import EPS, Interval, outward, product
from leadline.domains.values.interval_rules import scaled
from leadline.graph.ir import Node, Ref
from leadline.jacobian.bounds.gain import Gain, Known, Look, above, kept, total
from leadline.jacobian.bounds.norms import range_within

_MOST_PAIRS = 2**24
"""Of more pairs than these the weights are not bounded one by one: each is 1 at most."""


def attention(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Use that rows of P sum to 1, and that softmax halves what its logits move by.

    The same number added to all logits of a row changes nothing, so that keys count by their distance from any middle,
    and rows of dP sum to 0, so that values do, unless dropout takes some away. Operands of fewer heads than the result
    has are read by several; dropout multiplies what it keeps of P.
    """
    named = node.bound()
    refs = [named[name] for name in ("query", "key", "value")]
    if any(known.values[ref].pairs for ref in refs):
        raise NoRule
    dropped = float(named["dropout_p"])
    q, k = (known.repeated(ref, look, (*node.shape[:-2], *known.shape(ref)[-2:])).hi for ref in refs[:2])
    query, key, value = (known.values[ref] for ref in refs)
    norm_v = range_within(value)[1] if dropped else _spread(value)
    queries, keys = known.shape(refs[0])[-2], known.shape(refs[1])[-2]
    mask = known.repeated(named["attn_mask"], look, (*node.shape[:-2], queries, keys)).hi
    given = named.get("scale")
    scale = known.shape(refs[0])[-1] ** -0.5 * (1 + 4 * EPS) if given is None else abs(float(given))
    logits = total(above(scale, q, _spread(key)), above(scale, k, range_within(query)[1]), mask)
    found = total(above(_weighing(node, known), look(refs[2]).hi), above(0.5, logits, norm_v))
    return (Gain(0.0, above(found, kept(dropped), 1 + 16 * EPS)),)


def _spread(x: Interval) -> float:
    """Return the largest norm of rows less the middle one, or as they are."""
    plain = range_within(x)[1]
    if not x.finite or not x.lo.numel():
        return plain
    middle = x.middle.mean(-2, keepdim=True)
    return min(plain, range_within(outward(x.lo - middle, x.hi - middle))[1])


def _weighing(node: Node, known: Known) -> float:
    """Return the largest norm of the weights P, as a map from the values to all that read them: ``(‖P‖₁ ‖P‖∞)^½``."""
    of, shape = attention_of(node), known.shape(attention_of(node).value)
    weights = _weights(node, known).expand(*node.shape[:-2], -1, -1).sum(-2)
    if of.grouped and shape[-3] > 1:
        weights = weights.unflatten(-2, (shape[-3], -1)).sum(-2)
    columns = weights.sum_to_size(shape[:-1])
    return math.sqrt(float(columns.max())) * (1 + 4 * EPS * node.meta.numel) if columns.numel() else 0.0


def _weights(node: Node, known: Known) -> Tensor:
    """Return an upper bound on every weight, of shape (…, queries, keys)."""
    of, named = attention_of(node), node.bound()
    q, k = known.values[of.query], known.values[of.key].each(lambda x: by_query_heads(x, of, known.graph))
    pairs = (q.shape[-2], k.shape[-2])
    if not (q.finite and k.finite) or math.prod(node.shape[:-2]) * math.prod(pairs) > _MOST_PAIRS:
        return torch.ones(pairs, dtype=torch.float64)
    given = named.get("scale")
    scale = q.shape[-1] ** -0.5 if given is None else float(given)
    logits = scaled(product("...qd,...kd->...qk", q, k, q.shape[-1]), scale)
    logits = outward(logits.lo, logits.hi, 8 * EPS * logits.ends)
    return _softmax_at_most(*_masked(logits, of.mask, known, causal_pairs(*pairs) if of.causal else None))


def _masked(logits: Interval, mask: Any, known: Known, shown: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the ends of logits with a mask added, or where it holds, and -inf beyond what is shown."""
    low, high = logits.lo, logits.hi
    if isinstance(mask, Ref):
        m = known.values[mask]
        if known.graph.meta(mask).dtype is torch.bool:
            low, high = low.where(m.lo > 0, -math.inf), high.where(m.hi > 0, -math.inf)
        else:
            summed = outward(low + m.lo, high + m.hi)
            low, high = summed.lo, summed.hi
    if shown is not None:
        low, high = low.where(shown, -math.inf), high.where(shown, -math.inf)
    return low, high


def _softmax_at_most(low: Tensor, high: Tensor) -> Tensor:
    """Return the largest weights of a softmax whose logits lie in an interval: one high, all others low."""
    most = high.amax(-1, keepdim=True)
    others, own = (low - most).exp(), (high - most).exp()
    found = own / (own + (others.sum(-1, keepdim=True) - others).clamp(min=0.0))
    slack = 1 + 64 * EPS * (high.shape[-1] + 1)
    return (found * slack + 1e-300).nan_to_num(nan=1.0).clamp(max=1.0)

"""Matrix products in one form: which two operands are multiplied, along which axes, and what is added to the result."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from helpers.dense.elements import Lookup, edges, total
from jaxtyping import Bool
from torch import Tensor

from leadline.domains.engine import NoRule
from leadline.graph import Graph, Node, Ref


@dataclass(frozen=True)
class Product:
    """``einsum(equation, left, right)``, plus `added` elementwise.

    Attributes
    ----------
    left, right
        The operands.
    left_axes, right_axes, out_axes
        One letter for each axis. A letter in both operands and not in the result is summed over.
    added
        A tensor that is added to the product (a bias, a residual), or None.
    """

    left: Ref
    right: Ref
    left_axes: str
    right_axes: str
    out_axes: str
    added: Ref | None = None

    @property
    def summed(self) -> str:
        """The letters that are summed over."""
        return "".join(letter for letter in self.left_axes if letter not in self.out_axes)

    @property
    def equation(self) -> str:
        """The `torch.einsum` equation.

        Examples
        --------
        >>> Product(Ref(0), Ref(1), "ik", "kj", "ij").equation
        'ik,kj->ij'
        """
        return f"{self.left_axes},{self.right_axes}->{self.out_axes}"


# by ATen packet: the operands' names, the three's axes, and the name of the tensor that is added
_FIXED: dict[str, tuple[str, str, str, str, str, str | None]] = {
    "mm": ("self", "mat2", "ik", "kj", "ij", None),
    "addmm": ("mat1", "mat2", "ik", "kj", "ij", "self"),
    "bmm": ("self", "mat2", "bik", "bkj", "bij", None),
    "baddbmm": ("batch1", "batch2", "bik", "bkj", "bij", "self"),
    "addbmm": ("batch1", "batch2", "bik", "bkj", "ij", "self"),
    "mv": ("self", "vec", "ik", "k", "i", None),
    "addmv": ("mat", "vec", "ik", "k", "i", "self"),
    "dot": ("self", "tensor", "k", "k", "", None),
    "vdot": ("self", "other", "k", "k", "", None),
}
_BATCH = "abcdefgh"


def product_of(node: Node, graph: Graph) -> Product:
    """Read a node of kind `contraction`.

    Raises
    ------
    NoRule
        If this module does not know the operation.
    """
    packet = node.op.split(".")[1]
    named = node.bound()
    if packet == "linear":
        batch = _BATCH[: len(graph.meta(named["input"]).shape) - 1]
        return Product(named["input"], named["weight"], f"{batch}k", "jk", f"{batch}j", named["bias"])
    if packet == "matmul":
        left, right = named["self"], named["other"]
        return Product(left, right, *_matmul_axes(*(len(graph.meta(ref).shape) for ref in (left, right))))
    if packet not in _FIXED:
        raise NoRule
    left, right, left_axes, right_axes, out_axes, added = _FIXED[packet]
    return Product(named[left], named[right], left_axes, right_axes, out_axes, named[added] if added else None)


def _matmul_axes(left: int, right: int) -> tuple[str, str, str]:
    """Give letters to `torch.matmul`, whose batch axes broadcast (a size of 1 keeps its letter)."""
    batch = _BATCH[: max(left, right) - 2]
    rows, columns = "i" if left > 1 else "", "j" if right > 1 else ""
    left_batch = batch[len(batch) - left + 2 :] if left > 2 else ""
    right_batch = batch[len(batch) - right + 2 :] if right > 2 else ""
    return f"{left_batch}{rows}k", f"{right_batch}k{columns}", f"{batch}{rows}{columns}"


def product_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates of a matrix product: elements of the result times lengths of the summed axes."""
    product = product_of(node, graph)
    shape = graph.meta(product.left).shape
    return node.meta.numel * prod(shape[product.left_axes.index(letter)] for letter in product.summed)


def product_edges(node: Node, graph: Graph, elements: Lookup) -> int:
    """Edges of a matrix product between units that exist."""
    product = product_of(node, graph)
    used = elements(Ref(node.index)).used

    def pairs(left: Bool[Tensor, "..."], right: Bool[Tensor, "..."]) -> int:
        return _pairs(product, left, right) if used is None else _used_pairs(product, left, right, used)

    return edges(elements(product.left), elements(product.right), pairs)


def _used_pairs(
    product: Product, left: Bool[Tensor, "..."], right: Bool[Tensor, "..."], used: Bool[Tensor, "..."]
) -> int:
    """Count only what is added into used elements. An axis of one side, all or none of it used, is summed at once."""
    terms, out_axes, out = [], product.out_axes, used
    for axes, mask in ((product.left_axes, left.double()), (product.right_axes, right.double())):
        for axis in axes:
            place = out_axes.find(axis)
            alone = place >= 0 and (axis not in product.left_axes or axis not in product.right_axes)
            if alone and bool((out.all(place) == out.any(place)).all()):
                mask, out = mask.sum(axes.index(axis)), out.any(place)
                axes, out_axes = axes.replace(axis, ""), out_axes.replace(axis, "")
        terms.append((axes, mask))
    (a, x), (b, y) = terms
    return int((torch.einsum(f"{a},{b}->{out_axes}", x, y) * out).sum())


def _pairs(product: Product, left: Bool[Tensor, "..."], right: Bool[Tensor, "..."]) -> int:
    """Sum each side over the axes that the other has not, then multiply; batch axes of size 1 broadcast."""
    shared = [letter for letter in product.left_axes if letter in product.right_axes]
    sums = []
    for axes, mask in ((product.left_axes, left), (product.right_axes, right)):
        own = [i for i, letter in enumerate(axes) if letter not in shared]
        order = [letter for letter in axes if letter in shared]
        sums.append(total(mask, own).permute([order.index(letter) for letter in shared]))
    return int((sums[0] * sums[1]).sum())

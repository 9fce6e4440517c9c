"""Matrix products in one form: which two operands are multiplied, along which axes, and what is added to the result."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from jaxtyping import Bool
from torch import Tensor

from leadline.domains.engine import NoRule
from leadline.domains.operations.elements import ElementsOf, edges, paired
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

    def sizes(self, graph: Graph) -> dict[str, int]:
        """Size of every axis; one of size 1 broadcasts."""
        sizes: dict[str, int] = {}
        for axes, ref in ((self.left_axes, self.left), (self.right_axes, self.right)):
            for axis, size in zip(axes, graph.meta(ref).shape, strict=True):
                sizes[axis] = max(size, sizes.get(axis, 1))
        return sizes


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


def product_edges(node: Node, graph: Graph, elements: ElementsOf) -> int:
    """Edges of a matrix product between units that exist."""
    product = product_of(node, graph)
    sizes, used = product.sizes(graph), elements(Ref(node.index)).used
    read = [] if used is None else [(product.out_axes, used)]

    def pairs(left: Bool[Tensor, "..."], right: Bool[Tensor, "..."]) -> int:
        return paired(sizes, (product.left_axes, left), (product.right_axes, right), *read)

    return edges(elements(product.left), elements(product.right), pairs)

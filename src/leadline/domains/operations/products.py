"""Matrix products in one form: which two operands are multiplied, along which axes, and what is added to the result."""

from dataclasses import dataclass
from math import prod

from jaxtyping import Bool
from torch import Tensor

from leadline.domains.engine import NoRule
from leadline.domains.operations.elements import ElementsOf, edges, paired
from leadline.graph import Graph, Node, Ref


@dataclass(frozen=True)
class MatrixProduct:
    """``einsum(equation, left, right)``, plus `added` elementwise (a bias, a residual) if that is there.

    Of the axes, one letter each, those in both operands and not in the result are summed over.
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


def product_of(node: Node, graph: Graph) -> MatrixProduct:
    """Read a node of kind `contraction`; `NoRule` if the table of operations does not say what is multiplied."""
    named, product = node.bound(), node.operation.product
    if product is None:
        raise NoRule
    left, right = named[product.left], named[product.right]
    axes = product.axes(*(len(graph.meta(ref).shape) for ref in (left, right)))
    return MatrixProduct(left, right, *axes, added=named[product.added] if product.added else None)


def product_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates of a matrix product: elements of the result times lengths of the summed axes."""
    product = product_of(node, graph)
    shape = graph.meta(product.left).shape
    return node.meta.numel * prod(shape[product.left_axes.index(letter)] for letter in product.summed)


def product_terms(node: Node, graph: Graph, elements: ElementsOf) -> int:
    """Multiply-accumulates that are left without factors known to be zero, and without results that are not used."""
    product = product_of(node, graph)
    used = elements(Ref(node.index)).used
    left, right = elements(product.left).alive, elements(product.right).alive
    read = [] if used is None else [(product.out_axes, used)]
    return paired(product.sizes(graph), (product.left_axes, left), (product.right_axes, right), *read)


def product_edges(node: Node, graph: Graph, elements: ElementsOf) -> int:
    """Edges of a matrix product between units that exist."""
    product = product_of(node, graph)
    sizes, used = product.sizes(graph), elements(Ref(node.index)).used
    read = [] if used is None else [(product.out_axes, used)]

    def pairs(left: Bool[Tensor, "..."], right: Bool[Tensor, "..."]) -> int:
        return paired(sizes, (product.left_axes, left), (product.right_axes, right), *read)

    return edges(elements(product.left), elements(product.right), pairs)

"""Where inverses, solutions and matrix functions may differ from zero: what follows from the zeros of a matrix.

The matrix is read as a graph with an edge from row to column wherever an element may differ from zero. Powers of the
matrix differ from zero only where some walk leads; a power series is a sum of them, and so, by the theorem
of Cayley and Hamilton, is an inverse.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor

from leadline.graph.ir import Node, Ref


def reached(nonzero: Bool[Tensor, "*b n n"]) -> Bool[Tensor, "*b n n"]:
    """Say to which columns walks of any length, zero too, lead from each row.

    Examples
    --------
    >>> reached(torch.tensor([[0, 1, 0], [0, 0, 1], [0, 0, 0]]) != 0).int().tolist()
    [[1, 1, 1], [0, 1, 1], [0, 0, 1]]
    """
    found = nonzero | torch.eye(nonzero.shape[-1], dtype=torch.bool)
    length = 1
    while length < nonzero.shape[-1]:
        found, length = (found.float() @ found.float()) > 0, 2 * length
    return found


def inverted(nonzero: Bool[Tensor, "*b n n"]) -> Bool[Tensor, "*b n n"]:
    """Say where the inverse of a matrix may differ from zero, if it is regular.

    Rows are exchanged until the diagonal may differ from zero. Walks through the exchanged matrix then lead within and
    down the blocks of its finest block triangle, whichever exchange was found (A. L. Dulmage and N. S. Mendelsohn,
    "Coverings of bipartite graphs", Canadian Journal of Mathematics 10, 1958). Where no exchange does that, the matrix
    is singular, and nothing is said.

    Examples
    --------
    >>> backwards = torch.ones(3, 3).tril().flip(0) != 0
    >>> inverted(backwards).int().tolist()
    [[0, 0, 1], [0, 1, 1], [1, 1, 1]]
    """
    size = nonzero.shape[-1]
    if bool(nonzero.diagonal(dim1=-2, dim2=-1).all()):
        return reached(nonzero)
    found = [_exchanged(one) for one in nonzero.reshape(-1, size, size)]
    return torch.stack(found).reshape(nonzero.shape) if found else nonzero


def _exchanged(nonzero: Bool[Tensor, "n n"]) -> Bool[Tensor, "n n"]:
    import scipy.sparse

    graph = scipy.sparse.csr_matrix(nonzero.numpy())
    rows = torch.from_numpy(scipy.sparse.csgraph.maximum_bipartite_matching(graph, perm_type="row")).long()
    if bool((rows < 0).any()):
        return torch.ones_like(nonzero)
    result = torch.zeros_like(nonzero)
    result[:, rows] = reached(nonzero[rows])
    return result


def pseudoinverted(nonzero: Bool[Tensor, "*b m n"]) -> Bool[Tensor, "*b n m"]:
    """Say where the pseudoinverse of a matrix may differ from zero: within the blocks that the matrix falls into.

    It is ``(A* A)⁺ A*``, and the first factor a polynomial in ``A* A``.

    Examples
    --------
    >>> pseudoinverted(torch.tensor([[1, 1, 0], [0, 0, 1]]) != 0).int().tolist()
    [[1, 0], [1, 0], [0, 1]]
    """
    turned = nonzero.mT.float()
    alike = reached((turned @ nonzero.float()) > 0)
    return (alike.float() @ turned) > 0


def rests_on(node: Node, matrix: Tensor) -> Tensor | None:
    """Say which rows the rows of an inverse, or of a function, of the matrix rest on; None: it is another operation."""
    record = node.operation.matrices
    if record is None or not (record.inverts or record.powers):
        return None
    side = record.side(node.bound())
    if side is not None:
        return reached(matrix.tril() if side else matrix.triu())
    return reached(matrix) if record.powers else inverted(matrix)


def triangle(shape: tuple[int, ...], *, lower: bool) -> Bool[Tensor, "m n"]:
    """Mark a triangle of a matrix, the last two of some axes, with its diagonal."""
    ones = torch.ones(shape[-2:], dtype=torch.bool)
    return ones.tril() if lower else ones.triu()


def matrix_of(node: Node) -> Ref:
    """Return the matrix that an operation inverts, decomposes or maps."""
    record = node.operation.matrices
    assert record is not None
    found: Ref = next(ref for key, ref in node.bound().items() if isinstance(ref, Ref) and key != record.solved)
    return found


def nonzeros(node: Node, nonzero: Callable[[Ref], Tensor]) -> tuple[Tensor | None, ...]:
    """Say where the results of an operation on whole matrices may differ from zero; None: everywhere.

    `nonzero` tells it of the arguments, whose last two axes are laid out.
    """
    record, named = node.operation.matrices, node.bound()
    assert record is not None
    found: list[Tensor | None] = [None] * len(node.outputs)
    for i, side in enumerate(record.triangles(named)):
        meta = node.outputs[i]
        if side is not None and meta is not None:
            found[i] = triangle(meta.shape, lower=side)
    if record.side(named) is not None and not record.inverts:  # a factor, where elimination fills in what is connected
        given = nonzero(matrix_of(node))
        found[0] = reached(given | given.mT) & triangle(node.shape, lower=bool(record.side(named)))
    if record.pseudo:
        found[0] = pseudoinverted(nonzero(matrix_of(node)))
    if record.inverts or record.powers:
        inverse = rests_on(node, nonzero(matrix_of(node)))
        found[0] = inverse if record.solved is None or inverse is None else _solved(node, inverse, nonzero)
    return tuple(found)


def _solved(node: Node, inverse: Tensor, nonzero: Callable[[Ref], Tensor]) -> Tensor | None:
    record, named = node.operation.matrices, node.bound()
    assert record is not None
    assert record.solved is not None
    given = nonzero(named[record.solved])
    if given.ndim != len(node.shape) or given.ndim < inverse.ndim or given.shape[-2:] != node.shape[-2:]:
        return None  # a vector
    left = named.get("left") is not False
    return (inverse.float() @ given.float() if left else given.float() @ inverse.float()) > 0

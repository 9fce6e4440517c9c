"""The algebra of operators against the algebra of matrices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import UsageError
from leadline.jacobian.operators import Adjoint, Dense, scaled


@given(seed=st.integers(0, 10**6), m=st.integers(1, 6), n=st.integers(1, 6), k=st.integers(1, 4))
def test_operators_compose_as_matrices_do(seed, m, n, k):
    torch.manual_seed(seed)
    A, B, C = (
        torch.randn(m, n, dtype=torch.float64),
        torch.randn(n, m, dtype=torch.float64),
        torch.randn(m, m).double(),
    )
    operator = (Dense(A) @ Dense(B)) + scaled(-2.0, Dense(C)) - Dense(torch.eye(m, dtype=torch.float64))
    matrix = A @ B - 2 * C - torch.eye(m, dtype=torch.float64)
    V = torch.randn(m, k, dtype=torch.float64)
    torch.testing.assert_close(operator @ V, matrix @ V)
    torch.testing.assert_close(operator.T @ V, matrix.T @ V)
    torch.testing.assert_close(operator @ V[:, 0], matrix @ V[:, 0])
    torch.testing.assert_close(operator.dense(), matrix)


def test_the_transpose_of_the_transpose_is_the_operator():
    A = Dense(torch.ones(2, 3))
    assert A.T.T is A
    assert isinstance(A.T, Adjoint)


def test_shapes_that_do_not_fit_are_refused():
    A, B = Dense(torch.ones(2, 3)), Dense(torch.ones(2, 3))
    with pytest.raises(UsageError, match="inner sizes"):
        A @ B
    with pytest.raises(UsageError, match="shapes differ"):
        A + B.T

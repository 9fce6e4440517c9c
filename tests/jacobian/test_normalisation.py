"""The closed form of batch normalisation's Jacobian against autograd."""

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn.functional import batch_norm

from leadline.jacobian.theory.normalisation import batchnorm_jacobian, batchnorm_singular_values


@given(m=st.integers(2, 12), gamma=st.floats(-3, 3), eps=st.sampled_from([1e-5, 1e-3, 0.5]), seed=st.integers(0, 10**6))
def test_jacobian_and_singular_values(m, gamma, eps, seed):
    torch.manual_seed(seed)
    x = torch.randn(m, dtype=torch.float64) * 2 + 1

    def layer(v):
        weight = torch.tensor([gamma], dtype=torch.float64)
        return batch_norm(v[:, None], None, None, weight, training=True, eps=eps).flatten()

    dense = torch.autograd.functional.jacobian(layer, x)
    torch.testing.assert_close(batchnorm_jacobian(x, gamma, eps), dense, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(
        batchnorm_singular_values(x, gamma, eps), torch.linalg.svdvals(dense), rtol=1e-9, atol=1e-9
    )


@given(m=st.integers(2, 9), seed=st.integers(0, 10**6))
def test_the_three_directions(m, seed):
    torch.manual_seed(seed)
    x = torch.randn(m, dtype=torch.float64)
    assume(x.std() > 1e-3)
    eps, J = 0.25, batchnorm_jacobian(x, 1.0, 0.25)
    variance = x.var(correction=0)
    normal = x - x.mean()
    torch.testing.assert_close(J @ torch.ones(m, dtype=torch.float64), torch.zeros(m, dtype=torch.float64))
    torch.testing.assert_close(J @ normal, normal * eps / (variance + eps) ** 1.5, rtol=1e-9, atol=1e-12)


def test_a_constant_batch_has_no_direction_of_its_own():
    values = batchnorm_singular_values(torch.full((4,), 3.0, dtype=torch.float64), gamma=2.0, eps=0.25)
    torch.testing.assert_close(values, torch.tensor([4.0, 4.0, 4.0, 0.0], dtype=torch.float64))

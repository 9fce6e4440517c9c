"""An adversary that looks for points of a box where a Jacobian is large: corners, kinks, ascent on the norm."""

import torch

STEPS = 3
WIDE = (-3.0, 3.0)


def singular_values(model, x):
    """Return the least and the largest singular value of autograd's dense Jacobian; None where it is not finite."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y = _real(model(x))
        if not y.requires_grad:
            return 0.0, 0.0
        ends = torch.eye(y.numel(), dtype=y.dtype).reshape(-1, *y.shape)
        rows = [_real(torch.autograd.grad(y, x, end, retain_graph=True, allow_unused=True)[0]) for end in ends]
    J = torch.stack([torch.zeros_like(x) if row is None else row for row in rows]).flatten(1)
    if J.shape[1] != x.numel():  # a complex input: pairs of reals
        J = J.flatten(1)
    scale = J.abs().max()
    if not scale.isfinite():
        return None
    if scale == 0:
        return 0.0, 0.0
    values = torch.linalg.svdvals(J / scale) * scale
    least = values[-1].item() if len(J) >= J.shape[1] else 0.0
    return least, values[0].item()


def attacked(model, shape, box, generator):
    """Return the least and the largest singular value found at any point of a box; None: at no point is it finite."""
    points = list(points_of(shape, box, generator))
    lo, hi = box or WIDE
    found = [singular_values(model, x) for x in (*points, *_climbed(model, points[2], lo, hi))]
    finite = [values for values in found if values]
    return (min(low for low, _ in finite), max(high for _, high in finite)) if finite else None


def points_of(shape, box, generator):
    """Yield the middle of a box, a corner, a random point, and one beside kinks, or far out where there is no box."""
    lo, hi = box or WIDE
    share = torch.rand((3, *shape), dtype=torch.float64, generator=generator)
    share[0], share[1] = 0.5, (share[1] > 0.5).double()
    yield from (lo + (hi - lo) * share).clamp(lo, hi)
    if box is None:
        wide = 10.0 ** torch.randint(-8, 8, (), generator=generator)
        yield wide * (2 * share[2] - 1)
        yield torch.zeros(shape, dtype=torch.float64)
    elif lo < 0 < hi:
        yield (1e-9 * (hi - lo) * (share[2] - 0.5)).clamp(lo, hi)


def _climbed(model, x, lo, hi):
    """Follow ``u · J(x) v`` upward from corner to corner, u and v being what J stretches most."""
    for step in range(STEPS):
        x = x.detach().requires_grad_()
        try:
            slope = _ascent(model, x)
        except RuntimeError:  # no second derivative
            return
        if slope is None or not slope.isfinite().all() or not slope.any():
            return
        x = (x + 0.5**step * (hi - lo) * slope / slope.abs().max()).clamp(lo, hi).detach()
        yield x


def _ascent(model, x):
    with torch.enable_grad():
        y = _real(model(x))
        if not y.requires_grad:
            return None
        u = torch.randn_like(y)
        (row,) = torch.autograd.grad(y, x, u, create_graph=True, allow_unused=True)
        if row is None or not row.requires_grad:
            return None
        size = row.detach().abs().max()
        (slope,) = torch.autograd.grad((row / size).square().sum(), x, allow_unused=True)
    return slope


def _real(x):
    return torch.view_as_real(x).flatten() if x is not None and x.is_complex() else x

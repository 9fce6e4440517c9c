"""Whether a part of a model is being trained and nothing else: then a faster way to the same numbers may be taken."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook


def plainly_trained(part: nn.Module, x: Tensor, kinds: frozenset[type[nn.Module]]) -> bool:
    """Return whether only autograd's backward pass will ask what `part` does with `x`, in float32 on a CPU.

    It is not so where the model is traced, compiled or counted, under transforms of `torch.func`, in forward mode and
    under autocast, where a module within has hooks or is not of those `kinds`, and outside of training.
    """
    if torch.compiler.is_dynamo_compiling() or not (part.training and torch.is_grad_enabled()):
        return False
    bare = type(x) is Tensor and x.dtype is torch.float32 and x.device.type == "cpu"
    return bare and not _transformed() and not _has_any_global_hook() and all(_bare(m, kinds) for m in part.modules())


def _transformed() -> bool:
    """Return whether a mode or a transform sees single operations."""
    seen = torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack()
    functional = torch._C._functorch.peek_interpreter_stack() is not None
    forwards = forward_ad._current_level >= 0
    return bool(seen) or functional or forwards or torch.is_autocast_enabled("cpu") or torch._C._is_tracing()


def _bare(module: nn.Module, kinds: frozenset[type[nn.Module]]) -> bool:
    """Return whether a module is as its class made it: no hooks, no other forward, no weights of another kind."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    weights = module._parameters.values()
    return (
        type(module) in kinds
        and "forward" not in vars(module)
        and not any(hooks)
        and all(p is None or (type(p) is nn.Parameter and p.dtype is torch.float32) for p in weights)
    )

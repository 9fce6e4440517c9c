"""Networks over graphs: each node sees those that edges lead from, on a path whose edges point forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from published.entry import Published, Through


def _edges(length: int) -> Tensor:
    """Every node to the next one, and to the one after the next."""
    nodes = torch.arange(length)
    return torch.stack([torch.cat([nodes[:-1], nodes[:-2]]), torch.cat([nodes[1:], nodes[2:]])])


def _graph(name: str, build: Callable[[], nn.Module]) -> Published:
    """One graph has one sample."""
    return Published(
        "torch-geometric",
        name,
        lambda length: Through(build(), lambda model, x, edges: model(x, edges), edges=_edges(length)).eval(),
        lambda length: {"x": torch.randn(length, 4)},
        {"x": "t c", "output": "t v"},
        lengths=(8, 9),
    )


def _layer(name: str, *settings: Any, **more: Any) -> Published:
    def build() -> nn.Module:
        import torch_geometric.nn

        made: nn.Module = getattr(torch_geometric.nn, name)(*settings, **more)
        return made

    return _graph(name, build)


def _isomorphism() -> nn.Module:
    from torch_geometric.nn import GINConv

    return GINConv(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))


MODELS: tuple[Published, ...] = (
    _layer("GCNConv", 4, 3),
    _layer("GATConv", 4, 3, heads=2),
    _layer("GATv2Conv", 4, 3, heads=2),
    _layer("SAGEConv", 4, 3),
    _layer("GraphConv", 4, 3),
    _layer("TransformerConv", 4, 3, heads=2),
    _layer("ChebConv", 4, 3, 2),
    _layer("GCN", 4, 8, 2, 3),
    _layer("GraphSAGE", 4, 8, 2, 3),
    _layer("GAT", 4, 8, 2, 3),
    _graph("GINConv", _isomorphism),
)

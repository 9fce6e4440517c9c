"""From `nn.Module` to an immutable graph: trace, replay, layout, op table; a model that is read once."""

from leadline.graph.ir import Graph, Meta, Node, Ref
from leadline.graph.layout import Layout, resolve
from leadline.graph.reading import Reading
from leadline.graph.replay import run
from leadline.graph.table import Kind, kind_of
from leadline.graph.trace import trace

__all__ = ["Graph", "Kind", "Layout", "Meta", "Node", "Reading", "Ref", "kind_of", "resolve", "run", "trace"]

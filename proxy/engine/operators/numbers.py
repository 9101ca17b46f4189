"""Order of numbers."""

from collections.abc import Callable, Sequence
from typing import Any

from proxy.engine.operators.model import Leaf, Options

__all__ = ["compare"]


def compare(sign: str) -> Callable[[Sequence[Any], Options], Leaf]:
    """Return the compile of a comparison by a sign of Python's."""
    template = "({f}.__class__ is int or {x}.__class__ is float) and {x} " + sign + " {0}"
    return lambda values, _: Leaf(template, (values[0],))

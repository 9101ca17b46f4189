"""The objects that a document holds, however deep. Pure; total for any decoded JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["objects"]


def objects(document: Any) -> Iterator[Mapping[Any, Any]]:
    """Yield each object of a document, itself among them, in no order."""
    todo = [document]
    while todo:
        node = todo.pop()
        if isinstance(node, Mapping):
            yield node
            todo += node.values()
        elif isinstance(node, list):
            todo += node

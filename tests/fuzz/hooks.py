"""What schemathesis has to be told of our media types: how lines of JSON are written."""

import json
from typing import Any

import schemathesis

__all__ = ["as_lines"]


@schemathesis.serializer("application/x-ndjson")
def as_lines(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """Return what was made up as a body: text as it is, anything else as a line."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")

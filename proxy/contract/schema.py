"""The JSON Schema of the contract's types, made from the types.

Besides what msgspec derives, `definitions.ONE_OF` becomes `oneOf`, so that a schema says exactly
what the decoder accepts. Nothing is written twice: a new member needs no change here.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from proxy.contract.definitions import ONE_OF

__all__ = ["json_schemas"]


def json_schemas(
    types: Iterable[Any], ref_template: str = "#/$defs/{name}"
) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """Return a schema for each type, in order, and the named components they refer to."""
    schemas, components = msgspec.json.schema_components(types, ref_template=ref_template)
    for kind, groups in ONE_OF.items():
        if kind.__name__ in components:
            components[kind.__name__] = _one_of(components[kind.__name__], groups)
    return schemas, components


def _one_of(schema: dict[str, Any], groups: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    shared = {k: schema[k] for k in ("title", "description") if k in schema}
    return shared | {
        "oneOf": [
            {
                "type": "object",
                "properties": {member: schema["properties"][member] for member in group},
                "required": [group[0]],
                "additionalProperties": False,
            }
            for group in groups
        ]
    }

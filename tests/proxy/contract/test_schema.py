"""The schema accepts what the decoder does."""

from typing import Any

import jsonschema
import msgspec
import pytest

from proxy.contract.definitions import ONE_OF, Condition, Flag, FlagDefinition, Segment, Serve
from proxy.contract.schema import json_schemas


def accepts(kind: type, document: Any) -> bool:
    """Return whether the schema of a type accepts a document."""
    [schema], components = json_schemas([kind])
    return jsonschema.Draft202012Validator({**schema, "$defs": components}).is_valid(document)


def decodes(kind: type, document: Any) -> bool:
    """Return whether the decoder does."""
    try:
        msgspec.json.decode(msgspec.json.encode(document), type=kind)
    except msgspec.ValidationError:
        return False
    return True


LEAF = {"attribute": "a", "op": "equals", "values": ["x"]}


@pytest.mark.parametrize(
    ("document", "good"),
    [
        (LEAF, True),
        ({"attribute": "a", "op": "exists"}, True),
        ({**LEAF, "negate": True, "fold": False}, True),
        ({"all": [LEAF, {"any": [{"not": LEAF}]}]}, True),
        ({"segment": "s"}, True),
        ({"all": []}, True),
        ({}, False),
        ({"attribute": "a"}, False),
        ({"op": "exists"}, True),
        ({"values": []}, False),
        ({"all": [], "any": []}, False),
        ({"segment": "s", "negate": True}, False),
        ({**LEAF, "segment": "s"}, False),
        ({**LEAF, "unless": 1}, False),
        ({"all": [{}]}, False),
        ({"not": []}, False),
        ({"all": None}, False),
        ([], False),
    ],
)
def test_conditions(document: Any, good: bool) -> None:
    """Exactly one of the shapes."""
    assert accepts(Condition, document) is good
    assert decodes(Condition, document) is good


@pytest.mark.parametrize(
    ("document", "good"),
    [
        ({"variant": "on"}, True),
        ({"rollout": {"arms": []}}, True),
        ({"rollout": {"arms": [{"variant": "a", "weight": 1, "ranges": [[0, 1]]}]}}, True),
        ({"variant": "on", "rollout": {"arms": []}}, False),
        ({"rollout": {"arms": [{"variant": "a"}]}}, False),
        ({"rollout": {"arms": [{"variant": "a", "weight": 1, "ranges": [[0, 1, 2]]}]}}, False),
        ({"rollout": {"arms": [{"variant": "a", "weight": 0.5}]}}, False),
        ({}, False),
    ],
)
def test_serve(document: Any, good: bool) -> None:
    """A variant or a rollout."""
    assert accepts(Serve, document) is good
    assert decodes(Serve, document) is good


def test_every_type_with_groups_is_said_as_one_of() -> None:
    """Wherever it occurs."""
    _, components = json_schemas([Flag, Segment, FlagDefinition])
    for kind, groups in ONE_OF.items():
        assert len(components[kind.__name__]["oneOf"]) == len(groups)
        assert "properties" not in components[kind.__name__]
    assert components["Flag"]["additionalProperties"] is False


def test_references_follow_the_template() -> None:
    """OpenAPI has them elsewhere."""
    schemas, _ = json_schemas([Flag], "#/components/schemas/{name}")
    assert schemas == ({"$ref": "#/components/schemas/Flag"},)

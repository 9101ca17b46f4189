"""The types decode strictly, and write back what they read."""

import msgspec
import pytest

from proxy.contract.definitions import (
    ONE_OF,
    Arm,
    Condition,
    FlagDefinition,
    KeyDefinition,
    SegmentDefinition,
    Serve,
)

FLAG = b'{"type":"number","variants":{"a":10.0},"fallthrough":{"variant":"a"},"salt":"s"}'


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b'{"attribute":"a","op":"in","values":[1,1.0,"x",true]}', Condition),
        (b'{"not":{"segment":"s"}}', Condition),
        (b'{"rollout":{"arms":[{"variant":"a","weight":5,"ranges":[[0,5]]}],"by":"x"}}', Serve),
        (FLAG, FlagDefinition),
        (b"{}", SegmentDefinition),
        (b'{"hash":"00","kind":"client","expires_at_ms":null}', KeyDefinition),
    ],
)
def test_what_is_read_is_written_again(text: bytes, kind: type) -> None:
    """To the byte: lines are compared and hashed."""
    assert msgspec.json.encode(msgspec.json.decode(text, type=kind)) == text


@pytest.mark.parametrize("kind", ONE_OF)
def test_each_group_is_accepted_with_and_without_what_is_optional(
    kind: type[msgspec.Struct],
) -> None:
    """And nothing between two groups."""
    values = {"all": [], "any": [], "values": [], "negate": True, "fold": True, "op": "x"}
    values |= {"not": {"all": []}, "segment": "s", "attribute": "a", "variant": "v"}
    values |= {"rollout": {"arms": []}, "from": "1", "to": "2", "zone": "UTC"}
    values |= {"ramp": {"variant": "a", "else": "b", "start": "s", "end": "e"}}
    for group in ONE_OF[kind]:
        full = {member: values[member] for member in group}
        least = {group[0]: values[group[0]]}
        assert msgspec.convert(full, kind)
        assert msgspec.convert(least, kind)
        for other in ONE_OF[kind]:
            if other != group:
                with pytest.raises(msgspec.ValidationError, match="exactly one of"):
                    msgspec.convert({**least, other[0]: values[other[0]]}, kind)


def test_what_is_there_is_named_when_it_does_not_fit() -> None:
    """So that the author sees which of two to remove."""
    with pytest.raises(msgspec.ValidationError, match="got all, segment") as caught:
        msgspec.json.decode(b'{"not":{"all":[],"segment":"s"}}', type=Condition)
    assert "$.not" in str(caught.value)


def test_weights_are_whole() -> None:
    """A half of a bucket cannot be held, and a weight is written without a fraction."""
    for weight in (b"0.5", b"5.0"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(b'{"variant":"a","weight":' + weight + b"}", type=Arm)

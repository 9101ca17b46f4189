"""Builders of definitions: what a test does not name is ordinary."""

from typing import Any

import msgspec

from proxy.contract.authoring import project
from proxy.contract.definitions import Flag, FlagDefinition, Segment, SegmentDefinition
from proxy.contract.snapshot import Entry, EntryKind, encode_entry, read_entry
from proxy.engine import Answer, CompiledFlag, compile_flag

__all__ = ["FALLTHROUGH_SPLIT", "authored", "compiled", "definition", "entries", "leaf", "rule"]
__all__ += ["answer_to", "segment", "segment_definition"]

FALLTHROUGH_SPLIT = {
    "rollout": {"arms": [{"variant": "on", "weight": 50_000}, {"variant": "off", "weight": 50_000}]}
}


def document(**members: Any) -> dict[str, Any]:
    """Return the JSON of a boolean flag's definition that is on and answers `off`."""
    return {
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "salt": "f3b1",
        "enabled": True,
        "fallthrough": {"variant": "off"},
        **members,
    }


def definition(**members: Any) -> FlagDefinition:
    """Return a flag's definition; members replace those of `document`."""
    return msgspec.convert(document(**members), FlagDefinition)


def segment_definition(**members: Any) -> SegmentDefinition:
    """Return a segment's definition; empty where nothing is said."""
    return msgspec.convert(members, SegmentDefinition)


def segment(key: str, **members: Any) -> Segment:
    """Return a segment as authors write it."""
    return msgspec.convert({"key": key, **members}, Segment)


def authored(key: str = "checkout", config: dict[str, Any] | None = None, **members: Any) -> Flag:
    """Return a flag as authors write it, with one environment, `production`."""
    environment = {"enabled": True, "fallthrough": {"variant": "off"}, **(config or {})}
    flag = {
        "key": key,
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "environments": {"production": environment},
        **members,
    }
    return msgspec.convert(flag, Flag)


def leaf(attribute: str, op: str, *values: Any, **options: Any) -> dict[str, Any]:
    """Return a leaf; without values it has no `values`."""
    given = {"values": list(values)} if values else {}
    return {"attribute": attribute, "op": op, **given, **options}


def rule(
    when: dict[str, Any], serve: str | dict[str, Any] = "on", **members: Any
) -> dict[str, Any]:
    """Return a rule that serves a variant, or what is given."""
    served = {"variant": serve} if isinstance(serve, str) else serve
    return {"when": when, "serve": served, **members}


def compiled(segments: dict[str, SegmentDefinition] | None = None, **members: Any) -> CompiledFlag:
    """Return a compiled flag, key `flag`, that is known to have no problems."""
    flag = compile_flag("flag", definition(**members), segments or {})
    assert not flag.problems
    return flag


def answer_to(context: dict[str, Any], when: dict[str, Any], **segments: SegmentDefinition) -> bool:
    """Return whether a condition holds for a context, by the compiled flag."""
    answer: Answer = compiled(segments, rules=[rule(when)]).evaluate(context, 0)
    return answer.variant == "on"


def entries(
    *named: tuple[EntryKind, str, Any],
) -> dict[tuple[EntryKind, str], Entry]:
    """Return the entries of a snapshot: kind, key, definition."""
    return {(kind, key): read_entry(encode_entry(kind, key, thing)) for kind, key, thing in named}


def projected(flag: Flag) -> FlagDefinition:
    """Return what production's sidecars are sent of a flag."""
    return project(flag, "production")

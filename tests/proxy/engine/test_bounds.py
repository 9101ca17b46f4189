"""The bounds keep their promises: steps are short at each of them, and evaluation reads so much.

What is measured is the processor time of each step, the least of several runs, against three times
what is promised, for slow machines. It sees neither the collector of cycles, which is off here as
it is tuned elsewhere, nor other systems' definitions, nor the index that other flags make.
"""

import gc
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from proxy.contract.definitions import Flag, Segment
from proxy.contract.steps import Steps, finish
from proxy.engine import checking_flag, checking_segment, compile_snapshot, limits
from proxy.engine.operators import patterns
from proxy.engine.sizes import oversize
from tests.proxy.engine.builders import compiled, document, entries, leaf, rule

_STEP_S = 0.005
_SLACK = 3
_RUNS = 5

Document = dict[str, Any]
ON = {"variant": "on"}


def one(when: Document) -> Document:
    """Return a flag with one rule."""
    return document(rules=[rule(when, ON)])


def many(leaves: list[Document]) -> Document:
    """Return a flag with a rule for each leaf."""
    return document(rules=[rule(each, ON, id=f"r{i}") for i, each in enumerate(leaves)])


def split(arms: int) -> Document:
    """Return a rollout of equal arms, and as many more in the last as are needed."""
    share, rest = divmod(100_000, arms)
    weights = [share] * (arms - 1) + [share + rest]
    return {"rollout": {"arms": [{"variant": f"v{i}", "weight": w} for i, w in enumerate(weights)]}}


def numbered(**members: Any) -> Document:
    """Return a flag with as many variants as there can be."""
    variants = {f"v{i}": i for i in range(limits.MAX_VARIANTS)}
    fallthrough = {"variant": "v0"}
    return document(
        **{"type": "integer", "variants": variants, "fallthrough": fallthrough} | members
    )


def texts(size: int, each: int) -> Document:
    """Return a flag of texts that have so many characters, all of them escaped."""
    variants = {f"v{i}": "\n" * (each // 2 - 1) for i in range(size // each)}
    rules = [rule(leaf("a", "equals", i), {"variant": name}) for i, name in enumerate(variants)]
    return document(type="string", variants=variants, rules=rules, fallthrough={"variant": "v0"})


def ranges() -> Document:
    half = limits.MAX_RANGES // 2
    width = 100_000 // limits.MAX_RANGES
    arms = [
        {
            "variant": name,
            "weight": 50_000,
            "ranges": [[2 * i * width + at, 2 * i * width + at + width] for i in range(half)],
        }
        for name, at in (("on", 0), ("off", width))
    ]
    return document(fallthrough={"rollout": {"arms": arms}})


def deep(depth: int) -> Document:
    tree = leaf("a", "exists")
    for _ in range(depth - 1):
        tree = {"not": tree}
    return tree


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


_UNITS = [f"user-{i:07}-abcdef" for i in range(limits.MAX_VALUES_IN_ALL)]
_HALF = limits.MAX_VALUES
_PRE = "1.1.1-" + ".".join("1" * 125)
_CLASS = r"(?i)[\pL\pN]{3}x%dq"
_FULL = limits.MAX_LEAF_CHARS // limits.MAX_VALUES

AT_BOUNDS: dict[str, Callable[[], Document]] = {
    "MAX_ALL_VALUES_BYTES": lambda: texts(limits.MAX_ALL_VALUES_BYTES, limits.MAX_VALUE_BYTES),
    "MAX_ARMS": lambda: numbered(
        fallthrough=split(1_000), rules=[rule(leaf("a", "exists"), split(1_000))]
    ),
    "MAX_CONDITIONS": lambda: one({"any": [leaf(f"a{i}", "equals", i) for i in range(999)]}),
    "MAX_CONDITION_DEPTH": lambda: one(deep(limits.MAX_CONDITION_DEPTH)),
    "MAX_LEAF_CHARS": lambda: one(
        leaf("a", "all_of", *(f"{i:05}".ljust(_FULL, "é") for i in range(_HALF)), fold=True)
    ),
    "MAX_METADATA_BYTES": lambda: numbered(
        metadata={f"k{i}": "x" for i in range(600)}, fallthrough=split(1_000)
    ),
    "MAX_MOMENT_CHARS": lambda: many(
        [leaf("a", "before", f"2026-01-01T00:00:00.{'1' * 43}Z") for _ in range(limits.MAX_RULES)]
    ),
    "MAX_NETWORKS": lambda: one(
        leaf("a", "in_cidr", *(f"2001:db8:{i:x}::1/48" for i in range(limits.MAX_NETWORKS)))
    ),
    "MAX_PATH_CHARS": lambda: many([leaf("a." * 127 + f"{i}"[:1], "exists") for i in range(500)]),
    "MAX_PATTERNS": lambda: one(
        leaf("a", "matches", *(_CLASS % i for i in range(limits.MAX_PATTERNS)))
    ),
    "MAX_PATTERN_BYTES": lambda: many(
        [leaf("a", "matches", rf"(?i)\pL\pL{i}") for i in range(limits.MAX_PATTERNS)]
    ),
    "MAX_PATTERN_CHARS": lambda: many(
        [leaf("a", "matches", f"(ab|cd){i:02}" + "x" * 989) for i in range(limits.MAX_PATTERNS)]
    ),
    "MAX_RANGES": ranges,
    "MAX_RULES": lambda: many([leaf("a", "equals", i) for i in range(limits.MAX_RULES)]),
    "MAX_SEARCHED": lambda: one(
        leaf("a", "contains", *(f"x{i}" for i in range(limits.MAX_SEARCHED)), fold=True)
    ),
    "MAX_TARGETS": lambda: numbered(
        targets=[{"variant": f"v{i}", "units": [f"u{i}"]} for i in range(limits.MAX_TARGETS)]
    ),
    "MAX_UNIT_CHARS": lambda: document(
        targets=[{"variant": "on", "units": [unit.ljust(180, "x") for unit in _UNITS]}]
    ),
    "MAX_VALUES": lambda: one(leaf("a", "in", *_UNITS[:_HALF])),
    "MAX_VALUES_IN_ALL": lambda: document(
        targets=[{"variant": "on", "units": _UNITS[:_HALF]}],
        rules=[rule(leaf("a", "all_of", *_UNITS[:_HALF], fold=True), ON)],
    ),
    "MAX_VALUE_BYTES": lambda: texts(limits.MAX_VALUE_BYTES, limits.MAX_VALUE_BYTES),
    "MAX_VALUE_DEPTH": lambda: document(
        type="object", variants={"off": nested(limits.MAX_VALUE_DEPTH - 1)}
    ),
    "MAX_VALUE_NODES": lambda: document(
        type="object", variants={"off": {"a": [1] * 9_990}, "on": {"a": [1.5] * 9_990}}
    ),
    "MAX_VARIANTS": numbered,
    "MAX_VERSION_CHARS": lambda: many([leaf("a", "semver_gt", _PRE) for _ in range(500)]),
    "MAX_VERSION_RANGES": lambda: one(
        leaf("a", "semver_match", *[_PRE] * limits.MAX_VERSION_RANGES)
    ),
}
"""For each bound that costs time when a flag is compiled or checked, a flag at it."""

SEGMENTS: dict[str, Callable[[], Document]] = {
    "MAX_SEGMENT_CONDITIONS": lambda: {
        "when": {"any": [leaf(f"a{i}", "equals", i) for i in range(999)]}
    },
    "MAX_SEGMENT_UNITS": lambda: {"included": _UNITS[:_HALF], "excluded": _UNITS[_HALF:]},
}

ELSEWHERE = {
    "MAX_DEFINITION_BYTES": "tested by itself, below",
    "MAX_DEFINITION_PIECES": "tested by itself, below",
    "MAX_INTEGER": "costs nothing",
    "MAX_MATCHED_CHARS": "of evaluation",
    "MAX_NAME_CHARS": "costs nothing",
    "MAX_PREREQUISITES": "of several flags: test_prerequisites",
    "MAX_PREREQUISITES_IN_ALL": "of several flags: test_prerequisites",
    "MAX_PREREQUISITE_NESTING": "of several flags: test_prerequisites",
    "MAX_PROBLEMS": "tested by itself, below",
    "MAX_READ_CHARS": "of evaluation",
    "MAX_READ_ELEMENTS": "of evaluation",
    "MAX_SEGMENT_NESTING": "of several segments: test_segments",
    "MAX_SEGMENT_REFERENCES": "of several segments: test_segments",
    "MAX_TAGS": "costs nothing",
    "MAX_TEXT_CHARS": "costs nothing",
}


def longest(work: Callable[[], Steps[Any]]) -> float:
    """Return how long the longest step takes, each the least of some runs."""
    best: list[float] = []
    gc.collect()
    for _ in range(_RUNS):
        patterns._sets.clear()
        steps = work()
        taken = []
        gc.disable()
        try:
            more = True
            while more:
                start = time.thread_time()
                more = next(steps, "over") is None
                taken.append(time.thread_time() - start)
        finally:
            gc.enable()
        best = list(map(min, best or taken, taken))
    return max(best)


def test_every_bound_has_a_definition_at_it() -> None:
    """Or a reason why it needs none here."""
    assert sorted([*AT_BOUNDS, *SEGMENTS, *ELSEWHERE]) == sorted(limits.__all__)


@pytest.mark.parametrize("bound", AT_BOUNDS)
def test_no_step_of_compiling_a_flag_at_a_bound_is_long(bound: str) -> None:
    """It is good, too: what is quarantined would show nothing."""
    found = entries(("flag", "f", AT_BOUNDS[bound]()))
    assert finish(compile_snapshot(found)).quarantined == {}
    assert longest(lambda: compile_snapshot(found)) < _SLACK * _STEP_S


@pytest.mark.parametrize("bound", AT_BOUNDS)
def test_no_step_of_checking_a_flag_at_a_bound_is_long(bound: str) -> None:
    """In three environments: the bounds are each one's."""
    made = AT_BOUNDS[bound]()
    config = {k: made[k] for k in ("fallthrough", "rules", "targets", "salt") if k in made}
    names = ("development", "staging", "production")
    whole = {k: v for k, v in made.items() if k in ("type", "variants", "metadata")}
    flag = msgspec.convert(
        {"key": "f", **whole, "environments": dict.fromkeys(names, config)}, Flag
    )
    assert longest(lambda: checking_flag(flag, {}, {})) < _SLACK * _STEP_S


@pytest.mark.parametrize("bound", SEGMENTS)
def test_no_step_of_a_segment_at_a_bound_is_long(bound: str) -> None:
    """Neither compiled nor checked."""
    made = SEGMENTS[bound]()
    found = entries(("segment", "s", made))
    assert longest(lambda: compile_snapshot(found)) < _SLACK * _STEP_S
    segment = msgspec.convert({"key": "s", **made}, Segment)
    assert longest(lambda: checking_segment(segment, {})) < _SLACK * _STEP_S


HOSTILE: dict[str, Callable[[], Document]] = {
    "ranges": lambda: document(
        fallthrough={
            "rollout": {"arms": [{"variant": "on", "weight": 0, "ranges": [[0, 1]] * 200_000}]}
        }
    ),
    "targets": lambda: document(targets=[{"variant": "on", "units": []}] * 60_000),
    "rules": lambda: document(rules=[{"when": {"all": []}, "serve": ON}] * 10_000),
    "values": lambda: document(type="object", variants={"off": {"a": [[]] * 20_000}}),
    "zones": lambda: many(
        [{"op": "weekday", "values": ["mon"], "zone": f"Eurpe/Berlxn{i}"} for i in range(300)]
    ),
    "operators": lambda: many([leaf("a", f"starts_wth_{i}_abcdefghijkl") for i in range(500)]),
    "networks": lambda: one(leaf("a", "in_cidr", *(f"10.0.0.{i % 250}/8" for i in range(1_000)))),
    "patterns": lambda: one(leaf("a", "matches", *(rf"(?i)\pL+{i}" for i in range(50)))),
    "units": lambda: document(targets=[{"variant": "on", "units": ["u"] * 10}] * 1_000),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_no_step_of_what_is_far_beyond_a_bound_is_long(what: str) -> None:
    """As long as nobody has looked at it, it can be of any kind."""
    found = entries(("flag", "f", HOSTILE[what]()))
    assert longest(lambda: compile_snapshot(found)) < _SLACK * _STEP_S


def test_a_definition_of_too_many_pieces_is_not_decoded() -> None:
    """It is quarantined alone, with the reason."""
    found = entries(("flag", "f", HOSTILE["ranges"]()), ("flag", "good", document()))
    snapshot = finish(compile_snapshot(found))
    [problem] = snapshot.quarantined["f"]
    assert (problem.pointer, problem.code) == ("", "too_many")
    assert "to be read" in problem.message
    assert snapshot.flags["good"].problems == ()


def test_a_definition_of_too_many_bytes_is_not_decoded() -> None:
    """One byte more than is allowed, in a text."""
    assert finish(oversize(b'"' + b"x" * (limits.MAX_DEFINITION_BYTES - 2) + b'"')) is None
    assert finish(oversize(b'"' + b"x" * (limits.MAX_DEFINITION_BYTES - 1) + b'"')) is not None


@pytest.mark.parametrize(
    "text", [b'"' + b"," * 200_000 + b'"', b'["\\"' + b"[{" * 90_000 + b'\\\\"]']
)
def test_what_is_in_a_text_is_no_piece(text: bytes) -> None:
    """Lists as text, which people put into values, are texts."""
    assert finish(oversize(text)) is None


def test_pieces_are_counted_exactly_around_texts() -> None:
    """At the bound, and one beyond it, with a text in between that would make it more."""
    commas = b'{"a":"[[["' + b"," * (limits.MAX_DEFINITION_PIECES - 6)
    assert finish(oversize(commas)) is None
    assert finish(oversize(commas + b",")) is not None


def test_the_nodes_of_all_values_are_bounded_exactly() -> None:
    """The values themselves, their members and their elements."""
    most = limits.MAX_VALUE_NODES
    for elements, wanted in ((most - 3, []), (most - 2, [("/variants", "too_many")])):
        variants = {"off": {"a": [1] * elements}, "on": {}}  # three nodes, and the elements
        config = {"enabled": True, "fallthrough": {"variant": "off"}}
        flag = msgspec.convert(
            {
                "key": "f",
                "type": "object",
                "variants": variants,
                "environments": {"production": config},
            },
            Flag,
        )
        found = [(p.pointer, str(p.code)) for p in finish(checking_flag(flag, {}))]
        assert found == wanted


@pytest.mark.parametrize(
    ("made", "least"),
    [
        (lambda: many([leaf("a", "semver_gt", _PRE) for _ in range(500)]), 20),
        (HOSTILE["zones"], 300),
        (HOSTILE["operators"], 20),
        (AT_BOUNDS["MAX_PATTERNS"], 50),
        (AT_BOUNDS["MAX_VERSION_RANGES"], 5),
    ],
)
def test_long_checks_take_breaths(made: Callable[[], Document], least: int) -> None:
    """Counted, since the slack above would hide some that are left out."""
    found = entries(("flag", "f", made()))
    patterns._sets.clear()
    assert sum(1 for _ in compile_snapshot(found)) > least


def calls(work: Callable[[], Any]) -> int:
    """Return how many functions are called, of Python's and of C's."""
    count = 0

    def seen(_frame: Any, event: str, _of: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("op", ["any_of", "all_of", "none_of"])
def test_a_list_is_read_up_to_the_bound(op: str) -> None:
    """A longer one is as a value that is no list; nothing of it is read."""
    flag = compiled(rules=[rule(leaf("a", op, "x"), ON)])
    most = ["x"] * limits.MAX_READ_ELEMENTS
    negated = op == "none_of"
    assert flag.evaluate({"a": most}, 0).value is not negated
    assert flag.evaluate({"a": [*most, "x"]}, 0).value is negated
    assert calls(lambda: flag.evaluate({"a": ["x"] * 150_000}, 0)) < 20


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("values", [("b",), ("b", "c")])
def test_texts_are_looked_for_in_strings_up_to_the_bound(
    values: tuple[str, ...], fold: bool
) -> None:
    """A longer one has none of them."""
    flag = compiled(rules=[rule(leaf("a", "contains", *values, fold=fold), ON)])
    most = "a" * (limits.MAX_READ_CHARS - 1) + "b"
    assert flag.evaluate({"a": most}, 0).value is True
    assert flag.evaluate({"a": "a" + most}, 0).value is False
    assert calls(lambda: flag.evaluate({"a": "É" * 500_000}, 0)) < 10


@pytest.mark.parametrize(
    ("op", "value", "long"),
    [
        ("starts_with", "SS", "ß" + "x" * 100_000),
        ("ends_with", "ss", "x" * 100_000 + "ß"),
        ("equals", "ss", "ß"),
        ("in", "ss", "ß"),
    ],
)
def test_no_string_is_too_long_for_its_ends(op: str, value: str, long: str) -> None:
    """No more is put into one case than can matter, and that is enough where characters grow."""
    flag = compiled(rules=[rule(leaf("a", op, value, fold=True), ON)])
    assert flag.evaluate({"a": long}, 0).value is True


def test_an_evaluation_does_a_bounded_number_of_things() -> None:
    """Whatever the context holds: for each leaf a few calls, and for each element of a list one."""
    leaves = [leaf("a", "any_of", f"x{i}") for i in range(99)]
    flag = compiled(rules=[rule({"any": leaves}, ON)])
    most = calls(lambda: flag.evaluate({"a": ["y"] * limits.MAX_READ_ELEMENTS}, 0))
    assert most < 99 * (limits.MAX_READ_ELEMENTS + 10)
    assert calls(lambda: flag.evaluate({"a": ["y"] * 10**6}, 0)) < 99 * 10

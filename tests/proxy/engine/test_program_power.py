"""What other systems' flags mean can be said as rule programs, and compiles to just that.

Each flag here is written twice: as a program, by hand, the way an importer would write it, and as
the formulas of its system with their own floating-point comparisons, over hashes that are not the
engine's. Both answer the same thousands of contexts, ordinary and odd ones.

Rules:
- The formulas use nothing of the engine. What they share with the programs is how a system writes
  a value as text, and the comparison whose turning point an importer looks for.
- What is drawn has fixed seeds.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from random import Random
from typing import Any
from zlib import crc32

import pytest
from msgspec import UNSET

from proxy.contract.codes import ErrorCode, Reason
from proxy.contract.steps import finish
from proxy.engine import program as p
from proxy.engine.answers import Answer, AnswerMaker
from proxy.engine.bucketing import threshold
from proxy.engine.codegen import Compiled, evaluation, predicate
from proxy.engine.compiled import Evaluate, Predicate
from proxy.engine.hashing import first_number, number_of
from proxy.engine.memo import Memo
from proxy.engine.operators import OPERATORS, Leaf
from proxy.engine.timing import NEVER, Timing
from tests.proxy.engine.floats import float32
from tests.vectors.murmur3 import murmur3_x86_32

Context = dict[str, Any]
Said = tuple[Any, ...]

COUNT = 4_000
ODD: list[Any] = [None, "", "0", 0, 1, -1, 42, 42.0, 0.5, True, False, [], ["u"], {}, {"key": "u"}]
ODD += ["ä", "日本語", "😀", "\ud800", "a\0b", " u ", 2**53, 2**70, 1e300, -0.0, "x" * 300]


def compiled(
    program: p.Program | p.Timeline,
    variants: Mapping[str, Any],
    *,
    segments: Mapping[str, Predicate] | None = None,
    flags: Mapping[str, Evaluate] | None = None,
) -> Compiled:
    """Return a program made a flag."""
    maker = AnswerMaker("checkout", variants, {})
    if isinstance(program, p.Program):
        program = p.reachable(program)
    return finish(evaluation(program, maker.answering, segments or {}, flags or {}))


def said(answer: Answer) -> Said:
    """Return what an answer says: value, variant, reason, error and metadata; None for no value.

    Its body says the same.
    """
    value = None if answer.value is UNSET else answer.value
    body = json.loads(answer.body)
    assert (body.get("value"), body.get("errorCode")) == (value, answer.error_code)
    assert body.get("metadata", {}) == answer.metadata
    return value, answer.variant, answer.reason, answer.error_code, answer.metadata


def contexts(seed: int, **choices: list[Any]) -> list[Context]:
    """Return contexts drawn from values of some attributes; one in three has an odd one."""
    draw = Random(seed)
    made = []
    for number in range(COUNT):
        context: Context = {}
        for name, values in choices.items():
            odd = draw.random() < 0.1
            value = draw.choice(ODD if odd else values)
            if value is ...:
                continue
            context[name] = value.replace("#", str(number)) if isinstance(value, str) else value
        made.append(context)
    return made


def agree(
    flag: Compiled,
    formula: Callable[..., Said],
    asked: list[Context],
    moments: list[int] | None = None,
) -> None:
    """Assert that a flag says what a formula says, at all times of each context."""
    seen: set[str] = set()
    for context in asked:
        for now_ms in moments or [0]:
            wanted = formula(context, now_ms) if moments else formula(context)
            assert said(flag.function(context, now_ms)) == wanted, (context, now_ms)
            seen.add(repr(wanted))
    assert len(seen) > 1


def probe(attribute: str | p.Operand, operator: str, *values: Any) -> p.Probe:
    """Return a condition with an operator of ours."""
    return p.Probe(attribute, OPERATORS[operator].compile(list(values), False))


def custom(attribute: str | p.Operand, test: Callable[[Any], bool]) -> p.Probe:
    """Return a condition with a test of another system, as an importer compiles its leaves."""
    return p.Probe(attribute, Leaf("{0}({f})", (test,)))


def within(bucketing: p.Bucketing, *ranges: tuple[int, int]) -> p.Within:
    return p.Within(bucketing, ranges)


def fnv1a(units: Any) -> int:
    """Return FNV-1a over integers: bytes, or code units."""
    h = 0x811C9DC5
    for unit in units:
        h = (h ^ unit) * 0x01000193 % 2**32
    return h


# flagd: an expression computes the name of the variant

FLAGD_VARIANTS = {"old": "v1", "new": "v2"}
_TARGETING_KEY = frozenset(("targetingKey",))


def flagd_program(weights: list[tuple[str, int]], version: int) -> p.Program:
    """Return `if email ends with @example.com: new; else if ask: {var: ask}; else fractional`."""
    total = sum(weight for _, weight in weights)
    names = [name for name, _ in weights]
    ends = list(accumulate(weight for _, weight in weights))

    def key(value: Any) -> bytes | None:
        whole = isinstance(value, str) and value != ""
        return value.encode("utf-8", "surrogatepass") if whole else None

    part = p.Part("targetingKey", key)
    if version == 1:
        shares = list(accumulate(100 * weight / total for _, weight in weights))
        hashed = "murmur3_32_abs"
        cuts = [first_number(2**32, _not_below(share)) for share in shares]
    else:
        hashed = "murmur3_32"
        cuts = [threshold(end, total) for end in ends]
    number = number_of(p.Bucketing((b"checkout", part), hashed))

    def choose(context: Context, _now_ms: int) -> str | None:
        email, ask = context.get("email"), context.get("ask")
        if isinstance(email, str) and email.endswith("@example.com"):
            return "new"
        if ask:
            return ask if isinstance(ask, str) else str(ask).lower()
        found = number(context)
        index = bisect_right(cuts, found)
        return None if found < 0 or index == len(names) else names[index]

    return p.Program(
        (),
        p.Computed(
            choose,
            tuple((n, p.Outcome(n, Reason.TARGETING_MATCH)) for n in FLAGD_VARIANTS),
            nothing=p.Outcome("old", Reason.DEFAULT),
            unknown=p.Outcome(error=ErrorCode.GENERAL),
            reads=frozenset(("email", "ask", "targetingKey")),
        ),
    )


def _not_below(share: float) -> Callable[[int], bool]:
    return lambda h: not abs(float(h)) / 2147483647 * 100 < share


def flagd_formula(weights: list[tuple[str, int]], version: int, context: Context) -> Said:
    """Return what flagd says, weights summed on the way, in floats for version 1."""
    email, ask = context.get("email"), context.get("ask")
    name: str | None = None
    if isinstance(email, str) and email.endswith("@example.com"):
        name = "new"
    elif ask:
        name = ask if isinstance(ask, str) else str(ask).lower()
    elif isinstance(unit := context.get("targetingKey"), str) and unit:
        h = murmur3_x86_32(b"checkout" + unit.encode("utf-8", "surrogatepass"))
        name = _flagd_v1(weights, h) if version == 1 else _flagd_v2(weights, h)
    if name is None:
        return "v1", "old", "DEFAULT", None, {}
    if name not in FLAGD_VARIANTS:
        return None, "", None, "GENERAL", {}
    return FLAGD_VARIANTS[name], name, "TARGETING_MATCH", None, {}


def _flagd_v1(weights: list[tuple[str, int]], h: int) -> str | None:
    signed = h - 2**32 if h >= 2**31 else h
    bucket = abs(float(signed)) / 2147483647 * 100
    total, end = sum(weight for _, weight in weights), 0.0
    for name, weight in weights:
        end += 100 * weight / total
        if bucket < end:
            return name
    return None


def _flagd_v2(weights: list[tuple[str, int]], h: int) -> str | None:
    total, end = sum(weight for _, weight in weights), 0
    for name, weight in weights:
        end += weight
        if (h * total) >> 32 < end:
            return name
    return None


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "weights", [[("old", 75), ("new", 25)], [("new", 1), ("old", 0), ("new", 2)], [("old", 1)]]
)
def test_flagd_a_computed_variant(weights: list[tuple[str, int]], version: int) -> None:
    """By name, by hash, unknown to the flag, or none; both ways of dividing."""
    asked = contexts(
        1,
        targetingKey=["user-#", "user-#", "#", ...],
        email=["a@example.com", "b@example.org", ...],
        ask=[..., ..., ..., "new", "gone", True],
    )
    flag = compiled(flagd_program(weights, version), FLAGD_VARIANTS)
    agree(flag, lambda context: flagd_formula(weights, version, context), asked)
    assert flag.reads == {"email", "ask", "targetingKey"}
    assert flag.timing == NEVER


# Unleash: rollout and variants divide by different seeds; segments; a parent

UNLEASH_VARIANTS: dict[str, Any] = {
    "disabled": False,
    "enabled": True,
    "a": {"type": "string", "value": "A"},
    "b": {"type": "string", "value": "B"},
    "c": {"type": "string", "value": "C"},
}
_STICKY = p.Operand(
    "userId, else sessionId",
    lambda c: next((c[n] for n in ("userId", "sessionId") if _unleash_text(c.get(n))), None),
    frozenset(("userId", "sessionId")),
)


def _unleash_text(value: Any) -> bytes | None:
    """Return an identifier as Unleash writes it into the key; clients send it as text."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass") or None
    return str(value).encode() if type(value) is int else None


def unleash_program(rollout: int, weights: Mapping[str, int]) -> p.Program:
    """Return a flexible rollout with variants, then users named, behind a parent."""
    key = (b"checkout:", p.Part(_STICKY, _unleash_text))
    enabled = (("enabled", True),)
    ends = list(accumulate(weights.values()))
    arms = tuple(
        p.Arm(end - weight, end, p.Outcome(name, Reason.TARGETING_MATCH, metadata=enabled))
        for (name, weight), end in zip(weights.items(), ends, strict=True)
        if weight
    )
    return p.Program(
        (
            p.Gate(
                p.Answered("parent", lambda answer: answer.value is True, "enabled"),
                p.Outcome("disabled", Reason.DEFAULT, metadata=(("enabled", False),)),
            ),
            p.Rule(
                p.all_of(
                    [
                        probe("country", "in", "NL", "DE"),
                        p.negation(p.InSegment("blocked")),
                        within(p.Bucketing(key, reduce="modulo", size=100), (0, rollout)),
                    ]
                ),
                p.Split(
                    p.Bucketing(key, seed=86028157, reduce="modulo", size=ends[-1]),
                    arms,
                    otherwise=p.NEXT,
                    missing=p.NEXT,
                ),
            ),
            p.Rule(
                probe("userId", "in", "user-7", "user-8"),
                p.Outcome("enabled", Reason.TARGETING_MATCH, metadata=enabled),
            ),
        ),
        p.Outcome("disabled", Reason.DEFAULT, metadata=(("enabled", False),)),
    )


def unleash_formula(rollout: int, weights: Mapping[str, int], context: Context) -> Said:
    """Return what Unleash says, numbers from 1 on and compared as it compares them."""
    off = (False, "disabled", "DEFAULT", None, {"enabled": False})
    if context.get("plan") != "pro":  # what the parent asks for
        return off
    unit = next(
        (
            str(context[name])
            for name in ("userId", "sessionId")
            if type(context.get(name)) in (str, int) and context[name] != ""
        ),
        None,
    )

    def normalized(modulus: int, seed: int) -> int:
        key = f"checkout:{unit}".encode("utf-8", "surrogatepass")
        return murmur3_x86_32(key, seed) % modulus + 1

    country, blocked = context.get("country"), context.get("tier") == "banned"
    in_country = country in ("NL", "DE") if isinstance(country, str) else False
    asked = in_country and not blocked and unit is not None
    if asked and rollout > 0 and normalized(100, 0) <= rollout:
        found = normalized(sum(weights.values()), 86028157)
        end = 0
        for name, weight in weights.items():
            end += weight
            if weight > 0 and end >= found:
                value = UNLEASH_VARIANTS[name]
                return value, name, "TARGETING_MATCH", None, {"enabled": True}
    if context.get("userId") in ("user-7", "user-8"):
        return True, "enabled", "TARGETING_MATCH", None, {"enabled": True}
    return off


def parent() -> Evaluate:
    """Return the flag that the toggle depends on."""
    program = p.Program(
        (p.Rule(probe("plan", "equals", "pro"), p.Outcome("on", Reason.TARGETING_MATCH)),),
        p.Outcome("off", Reason.DEFAULT),
    )
    function: Evaluate = compiled(program, {"on": True, "off": False}).function
    return function


@pytest.mark.parametrize("rollout", [0, 25, 99, 100])
@pytest.mark.parametrize(
    "weights", [{"a": 500, "b": 500}, {"a": 333, "b": 0, "c": 667}, {"c": 1}], ids=str
)
def test_unleash_a_rollout_whose_variants_have_another_seed(
    rollout: int, weights: dict[str, int]
) -> None:
    """Stickiness falls from user to session; a parent and a segment are asked first."""
    asked = contexts(
        2,
        userId=["user-#", "user-7", ...],
        sessionId=["session-#", ...],
        country=["NL", "DE", "FR"],
        tier=["free", "banned", ...],
        plan=["pro", "pro", "pro", "free"],
    )
    blocked = finish(predicate(probe("tier", "equals", "banned"), {}))
    flag = compiled(
        unleash_program(rollout, weights),
        UNLEASH_VARIANTS,
        segments={"blocked": blocked.function},
        flags={"parent": parent()},
    )
    agree(flag, lambda context: unleash_formula(rollout, weights, context), asked)
    assert flag.reads == {"country", "userId", "sessionId"}
    for context in asked[:200]:  # a memo changes nothing, and is used
        memo = Memo(context, 0)
        answer = flag.function(context, 0, memo)
        assert said(answer) == unleash_formula(rollout, weights, context)
        assert memo


# GrowthBook: gaps go on with the next rule; namespaces; numbers written as JavaScript does

GROWTHBOOK_VARIANTS = {"default": "old", "r0v0": "old", "r0v1": "new", "r0v2": "newer", "r1": "new"}


def _javascript_text(value: Any) -> str | None:
    """Return a hash value as GrowthBook's SDK reads it: nothing for what JavaScript takes for no.

    Numbers as JavaScript writes those of these tests.
    """
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else None
    if isinstance(value, (int, float)) and value:
        return str(int(value)) if value == int(value) and abs(value) < 1e21 else repr(value)
    return None


def _code_units(value: Any) -> bytes | None:
    text = _javascript_text(value)
    return None if text is None else text.encode("utf-16-le", "surrogatepass")


def _units_of(text: str) -> list[int]:
    encoded = text.encode("utf-16-le", "surrogatepass")
    return [encoded[i] | encoded[i + 1] << 8 for i in range(0, len(encoded), 2)]


def _growthbook_ranges(coverage: float, weights: list[float]) -> list[tuple[float, float]]:
    """Return where each variation starts and ends, by the SDK's own sums."""
    coverage, start, ranges = min(max(coverage, 0.0), 1.0), 0.0, []
    for weight in weights:
        ranges.append((start, start + coverage * weight))
        start += weight
    return ranges


def growthbook_program(coverage: float, weights: list[float], version: int) -> p.Program:
    """Return an experiment within a namespace and a country, then a tenth forced."""
    unit = p.Part("id", _code_units)
    if version == 1:
        key: tuple[Any, ...] = (unit, "checkout-exp".encode("utf-16-le"))
        experiment = p.Bucketing(key, "fnv1a_32_utf16", 0, "modulo", 1_000)
    else:
        key = ("checkout-exp".encode("utf-16-le"), unit)
        experiment = p.Bucketing(key, "fnv1a_32_utf16_x2", 0, "modulo", 10_000)
    size = experiment.size
    arms = []
    for index, (start, end) in enumerate(_growthbook_ranges(coverage, weights)):
        low = first_number(size, lambda n, start=start: n / size >= start)  # type: ignore[misc]
        high = first_number(size, lambda n, end=end: n / size >= end)  # type: ignore[misc]
        if low < high:
            arms.append(p.Arm(low, high, p.Outcome(f"r0v{index}", Reason.SPLIT)))
    space = p.Bucketing((unit, "__ns1".encode("utf-16-le")), "fnv1a_32_utf16", 0, "modulo", 1_000)
    forced = p.Bucketing(
        (unit, "checkout".encode("utf-16-le")), "fnv1a_32_utf16", 0, "modulo", 1_000
    )
    covered = first_number(1_000, lambda n: not n / 1_000 <= 0.1)
    in_space = first_number(1_000, lambda n: not n / 1_000 < 0.6)
    return p.Program(
        (
            p.Rule(
                p.all_of([within(space, (0, in_space)), probe("country", "in", "NL", "DE")]),
                p.Split(experiment, tuple(arms), otherwise=p.NEXT, missing=p.NEXT),
            ),
            p.Rule(within(forced, (0, covered)), p.Outcome("r1", Reason.TARGETING_MATCH)),
        ),
        p.Outcome("default", Reason.DEFAULT),
    )


def growthbook_formula(
    coverage: float, weights: list[float], version: int, context: Context
) -> Said:
    """Return what GrowthBook says, numbers between 0 and 1."""
    unit, country = _javascript_text(context.get("id")), context.get("country")

    def number(seed: str, version: int) -> float:
        assert unit is not None
        if version == 1:
            return fnv1a(_units_of(unit + seed)) % 1_000 / 1_000
        return fnv1a(str(fnv1a(_units_of(seed + unit))).encode()) % 10_000 / 10_000

    if unit is not None:
        member = 0 <= number("__ns1", 1) < 0.6
        if member and isinstance(country, str) and country in ("NL", "DE"):
            found = number("checkout-exp", version)
            for index, (start, end) in enumerate(_growthbook_ranges(coverage, weights)):
                if start <= found < end:
                    name = f"r0v{index}"
                    return GROWTHBOOK_VARIANTS[name], name, "SPLIT", None, {}
        if number("checkout", 1) <= 0.1:
            return "new", "r1", "TARGETING_MATCH", None, {}
    return "old", "default", "DEFAULT", None, {}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("coverage", "weights"),
    [(0.8, [0.5, 0.5]), (1.0, [0.1, 0.2, 0.7]), (0.333, [1 / 3] * 3), (0.0, [0.5, 0.5])],
)
def test_growthbook_an_experiment_with_gaps(
    coverage: float, weights: list[float], version: int
) -> None:
    """Who is in no range, or not in the namespace, goes on to the rule that forces a tenth."""
    asked = contexts(3, id=["u#", "u#", "用户#", "😀#", ...], country=["NL", "DE", "FR", ...])
    asked += [
        {"id": n, "country": "NL"} for n in [*range(-500, 1_500), *(n / 8 for n in range(800))]
    ]
    flag = compiled(growthbook_program(coverage, weights, version), GROWTHBOOK_VARIANTS)
    agree(flag, lambda context: growthbook_formula(coverage, weights, version, context), asked)
    assert flag.reads == {"id", "country"}


def test_growthbook_a_holdout_passes_on() -> None:
    """An arm may serve the next step too, and so may who has no number."""
    key = p.Bucketing((p.Part("id", _code_units),), "fnv1a_32_utf16", 0, "modulo", 1_000)
    held = p.Outcome("default", Reason.SPLIT)
    program = p.Program(
        (
            p.Rule(
                p.TRUE,
                p.Split(
                    key,
                    (p.Arm(0, 200, held), p.Arm(200, 300, p.NEXT), p.Arm(300, 400, held)),
                    otherwise=p.NEXT,
                    missing=p.Outcome(None, Reason.DEFAULT),
                ),
            ),
        ),
        p.Outcome("r1", Reason.TARGETING_MATCH),
    )

    def formula(context: Context) -> Said:
        unit = _javascript_text(context.get("id"))
        if unit is None:
            return None, "", "DEFAULT", None, {}
        n = fnv1a(_units_of(unit)) % 1_000
        if n < 200 or 300 <= n < 400:
            return "old", "default", "SPLIT", None, {}
        return "new", "r1", "TARGETING_MATCH", None, {}

    agree(compiled(program, GROWTHBOOK_VARIANTS), formula, contexts(4, id=["u#", "u#", ...]))


# LaunchDarkly: 60 bits, in single precision; targets; a prerequisite; an arm that is not tracked

LD_VARIANTS = {"0": "old", "1": "new", "2": "newest"}
_COUNTRY = p.Operand(
    "/address/country",
    lambda c: c["address"].get("country") if isinstance(c.get("address"), dict) else None,
    frozenset(("address",)),
)
_LD_SCALE = 0xFFFFFFFFFFFFFFF
Arms = list[tuple[int, int, bool]]
"""Variation, weight in 1/100,000, whether it is tracked."""


def _ld_key(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if type(value) is int or (type(value) is float and value == int(value)):
        return str(int(value)).encode()
    return None


def _rounding(bits: int) -> Callable[[float], float]:
    return float32 if bits == 32 else float


def _ld_outcome(variation: int, tracked: bool) -> p.Outcome:
    marks: tuple[tuple[str, Any], ...] = (("ruleIndex", 0), ("ruleId", "r1"))
    if tracked:
        marks += (("inExperiment", True),)
    return p.Outcome(str(variation), Reason.SPLIT, metadata=marks)


def ld_program(arms: Arms, bits: int) -> p.Program:
    """Return targets, and a rule with an experiment that has a seed, behind a prerequisite."""
    rounded = _rounding(bits)
    made, low, end = [], 0, 0.0
    for variation, weight, tracked in arms:
        end = rounded(end + rounded(rounded(weight) / rounded(100_000)))
        high = first_number(
            2**60,
            lambda h, end=end: not rounded(rounded(h) / rounded(_LD_SCALE)) < end,  # type: ignore[misc]
        )
        if low < high:
            made.append(p.Arm(low, high, _ld_outcome(variation, tracked)))
            low = high
    last = _ld_outcome(arms[-1][0], arms[-1][2])
    first = next(arm for arm in arms if arm[1] > 0)
    bucketing = p.Bucketing((b"61.", p.Part("key", _ld_key)), "sha1_60")
    return p.Program(
        (
            p.Gate(
                p.Answered("pre", lambda answer: answer.variant == "on", "on"),
                p.Outcome("2", Reason.DEFAULT, metadata=(("prerequisite", "pre"),)),
            ),
            p.Lookup("key", ((["vip-1", "vip-2"], p.Outcome("1", Reason.TARGETING_MATCH)),)),
            p.Rule(
                probe(_COUNTRY, "in", "NL", "DE"),
                p.Split(
                    bucketing, tuple(made), otherwise=last, missing=_ld_outcome(first[0], first[2])
                ),
            ),
        ),
        p.Outcome("0", Reason.DEFAULT),
    )


def ld_formula(arms: Arms, bits: int, context: Context) -> Said:
    """Return what LaunchDarkly says, in the precision of the SDK."""
    if context.get("beta") is not True:  # what the prerequisite asks for
        return "newest", "2", "DEFAULT", None, {"prerequisite": "pre"}
    key, address = context.get("key"), context.get("address")
    if isinstance(key, str) and key in ("vip-1", "vip-2"):
        return "new", "1", "TARGETING_MATCH", None, {}
    country = address.get("country") if isinstance(address, dict) else None
    if not (isinstance(country, str) and country in ("NL", "DE")):
        return "old", "0", "DEFAULT", None, {}
    rounded, bucket = _rounding(bits), 0.0
    whole = isinstance(key, float) and key == int(key)
    if isinstance(key, str) or type(key) is int or whole:
        text = f"61.{int(key) if isinstance(key, float) else key}"
        digits = hashlib.sha1(text.encode("utf-8", "surrogatepass")).hexdigest()[:15]
        bucket = rounded(rounded(int(digits, 16)) / rounded(_LD_SCALE))
    end, chosen = 0.0, arms[-1]
    for arm in arms:
        end = rounded(end + rounded(rounded(arm[1]) / rounded(100_000)))
        if bucket < end:
            chosen = arm
            break
    variation, _, tracked = chosen
    marks: dict[str, Any] = {"ruleIndex": 0, "ruleId": "r1"}
    if tracked:
        marks["inExperiment"] = True
    return LD_VARIANTS[str(variation)], str(variation), "SPLIT", None, marks


LD_ARMS: list[Arms] = [
    [(0, 50_000, True), (1, 40_000, True), (0, 10_000, False)],
    [(0, 33_333, True), (1, 33_333, True), (2, 33_334, True)],
    [(1, 0, True), (2, 99_000, True), (0, 500, False)],  # they fall short: the rest is the last's
]


def prerequisite() -> Evaluate:
    """Return the flag that LaunchDarkly's asks first."""
    on, off = p.Outcome("on", Reason.TARGETING_MATCH), p.Outcome("off", Reason.DEFAULT)
    program = p.Program((p.Rule(probe("beta", "equals", True), on),), off)
    function: Evaluate = compiled(program, {"on": 1, "off": 0}).function
    return function


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("arms", LD_ARMS, ids=str)
def test_launchdarkly_an_experiment_by_sha1(arms: Arms, bits: int) -> None:
    """Who has no key is in the first arm that has a weight; the rest after the last is its own."""
    asked = contexts(
        5,
        key=["u-#", "u-#", "u-#", "vip-1", ...],
        address=[{"country": "NL"}, {"country": "DE"}, {"country": "FR"}, {}, ...],
        beta=[True, True, True, False],
    )
    for context in asked[:100]:
        context["address.country"] = "NL"  # a reference is a path, never a name with a dot
    flag = compiled(ld_program(arms, bits), LD_VARIANTS, flags={"pre": prerequisite()})
    agree(flag, lambda context: ld_formula(arms, bits, context), asked)
    assert flag.reads == {"key", "address"}


@pytest.mark.parametrize("bits", [32, 64])
def test_launchdarkly_at_the_very_cut_points(bits: int) -> None:
    """No key can be found for them, so the arms are compared with the formula for the numbers."""
    rounded = _rounding(bits)
    for arms in LD_ARMS:
        (_, _, rule) = ld_program(arms, bits).steps
        assert isinstance(rule, p.Rule)
        assert isinstance(rule.serve, p.Split)
        ends, end = [], 0.0
        for _, weight, _ in arms:
            end = rounded(end + rounded(rounded(weight) / rounded(100_000)))
            ends.append(end)
        for cut in {end for arm in rule.serve.arms for end in (arm.low, int(arm.high))}:  # type: ignore[arg-type]
            for h in range(max(0, cut - 3), min(2**60, cut + 3)):
                bucket = rounded(rounded(h) / rounded(_LD_SCALE))
                chosen = next((a for a, e in zip(arms, ends, strict=True) if bucket < e), arms[-1])
                fallen = next(
                    (a.serve for a in rule.serve.arms if a.low <= h < a.high),  # type: ignore[operator]
                    rule.serve.otherwise,
                )
                assert fallen == _ld_outcome(chosen[0], chosen[2])


def test_a_prerequisite_that_is_not_there_fails() -> None:
    """Its test is asked about the answer that there is no such flag."""
    program = ld_program(LD_ARMS[0], 64)
    answer = compiled(program, LD_VARIANTS).function({"key": "vip-1", "beta": True}, 0)
    assert said(answer) == ("newest", "2", "DEFAULT", None, {"prerequisite": "pre"})


# GO Feature Flag: percentages, scheduled steps, and a ramp with a slope

GOFF_START, GOFF_END = 1_767_225_600, 1_767_225_600 + 86_400  # seconds
GOFF_VARIANTS = {"old": "v1", "new": "v2"}
GOFF_LATER = {"old": "v1", "new": "v3"}
GOFF_CHANGE = GOFF_END + 3_600
_CONFIG_ERROR = p.Outcome(error=ErrorCode.GENERAL, metadata=(("sourceError", "FLAG_CONFIG"),))


def _goff_key(value: Any) -> bytes | None:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) and value else None


def _goff_arms(percentages: Mapping[str, float], reason: Reason) -> tuple[p.Arm, ...]:
    arms, start = [], 0.0
    for name in sorted(percentages, reverse=True):
        end = start + percentages[name] * 1_000
        if int(start) < int(end):
            arms.append(p.Arm(int(start), int(end), p.Outcome(name, reason)))
        start = end
    return tuple(arms)


def goff_program(percentages: Mapping[str, float], ramp_from: float, ramp_to: float) -> p.Timeline:
    """Return a rule with percentages; by default a ramp that starts, ends, and a changed value."""
    key = (b"checkout", p.Part("targetingKey", _goff_key))
    total = int(sum(percentages.values()) * 1_000)
    gate = p.Gate(
        custom("targetingKey", lambda value: isinstance(value, str) and value != ""),
        p.Outcome(error=ErrorCode.TARGETING_KEY_MISSING),
    )
    rule = p.Rule(
        p.all_of([probe("country", "in", "NL", "DE"), probe("age", "gte", 18)]),
        p.Split(
            p.Bucketing(key, "fnv1a_32", 0, "modulo", total),
            _goff_arms(percentages, Reason.SPLIT),
            otherwise=_CONFIG_ERROR,
            missing=_CONFIG_ERROR,
        ),
    )
    slope = (ramp_to - ramp_from) * 1_000 / (GOFF_END - GOFF_START)
    ramp = p.Ramp(
        GOFF_START * 1_000,
        GOFF_END * 1_000,
        int(ramp_from * 1_000),
        int(ramp_to * 1_000),
        slope,
        1_000,
    )
    new, old = p.Outcome("new", Reason.SPLIT), p.Outcome("old", Reason.SPLIT)
    progressive = p.Split(
        p.Bucketing(key, "fnv1a_32", 0, "modulo", 100_000), (p.Arm(0, ramp, new),), old, old
    )
    steps = (gate, rule)
    return p.Timeline(
        p.Program(steps, old),
        (
            (GOFF_START * 1_000, p.Program(steps, progressive)),
            (GOFF_CHANGE * 1_000, p.Program(steps, progressive, GOFF_LATER)),
        ),
    )


def goff_formula(
    percentages: Mapping[str, float], ramp_from: float, ramp_to: float, context: Context, now: int
) -> Said:
    """Return what GO Feature Flag says at a time in milliseconds, of which it takes the seconds."""
    variants = GOFF_LATER if now >= GOFF_CHANGE * 1_000 else GOFF_VARIANTS
    unit, country, age = (context.get(name) for name in ("targetingKey", "country", "age"))
    if not isinstance(unit, str) or not unit:
        return None, "", None, "TARGETING_KEY_MISSING", {}
    h = fnv1a(b"checkout" + unit.encode("utf-8", "surrogatepass"))
    adult = isinstance(age, (int, float)) and not isinstance(age, bool) and age >= 18
    if isinstance(country, str) and country in ("NL", "DE") and adult:
        n, start = h % int(sum(percentages.values()) * 1_000), 0.0
        for name in sorted(percentages, reverse=True):
            end = start + percentages[name] * 1_000
            if int(start) <= n < int(end):
                return variants[name], name, "SPLIT", None, {}
            start = end
        return None, "", None, "GENERAL", {"sourceError": "FLAG_CONFIG"}
    second = now // 1_000
    if now < GOFF_START * 1_000:
        current = 0.0
    elif now >= GOFF_END * 1_000:
        current = ramp_to * 1_000
    else:
        rate = (ramp_to - ramp_from) * 1_000 / (GOFF_END - GOFF_START)
        current = (second - GOFF_START) * rate + ramp_from * 1_000
    name = "new" if h % 100_000 < int(current) else "old"
    return variants[name], name, "SPLIT", None, {}


@pytest.mark.parametrize(
    ("percentages", "ramp_from", "ramp_to"),
    [
        ({"old": 33.3, "new": 66.7}, 0.0, 80.0),
        ({"old": 10.0, "new": 20.0}, 5.0, 100.0),
        ({"new": 0.1, "old": 99.85}, 12.5, 33.333),
    ],
)
def test_goff_slices_of_time_and_a_ramp(
    percentages: dict[str, float], ramp_from: float, ramp_to: float
) -> None:
    """Before, at, within and after; steps of whole seconds; a variant's value changes last."""
    asked = contexts(
        6,
        targetingKey=["u-#", "u-#", "пользователь-#", ...],
        country=["NL", "DE", "FR", ...],
        age=[17, 18, 18.5, 65, ...],
    )[: COUNT // 4]
    edges = [GOFF_START * 1_000, GOFF_END * 1_000, GOFF_CHANGE * 1_000]
    moments = [edge + d for edge in edges for d in (-1_000, -1, 0, 1, 999, 1_000)]
    moments += [GOFF_START * 1_000 + 86_400 * n for n in (1, 7, 250, 499, 500, 777, 999)]
    flag = compiled(goff_program(percentages, ramp_from, ramp_to), GOFF_VARIANTS)

    def formula(context: Context, now_ms: int) -> Said:
        return goff_formula(percentages, ramp_from, ramp_to, context, now_ms)

    agree(flag, formula, asked, moments)
    assert flag.reads == {"targetingKey", "country", "age"}
    start, end, change = edges
    assert flag.timing == Timing(frozenset(edges), frozenset([(start, end)]))
    assert start < end < change


def test_goff_each_unit_joins_at_its_second() -> None:
    """A unit's number says when the ramp reaches it; a millisecond before, it has not."""
    percentages = {"old": 33.3, "new": 66.7}
    flag = compiled(goff_program(percentages, 0.0, 80.0), GOFF_VARIANTS)
    joined = 0
    for number in range(400):
        context = {"targetingKey": f"u-{number}"}

        def is_in(second: int, context: Context = context) -> bool:
            now_ms = (GOFF_START + second) * 1_000
            return goff_formula(percentages, 0.0, 80.0, context, now_ms)[1] == "new"

        second = first_number(GOFF_END - GOFF_START + 1, is_in)
        joined += second <= GOFF_END - GOFF_START
        for now_ms in ((GOFF_START + second) * 1_000 + d for d in (-1_000, -1, 0, 1)):
            wanted = goff_formula(percentages, 0.0, 80.0, context, now_ms)
            assert said(flag.function(context, now_ms)) == wanted
    assert 250 < joined < 390


# Flipt and Flagsmith: the remaining hashes


def test_flipt_a_threshold_and_a_distribution() -> None:
    """They hash the same two texts in different order; floats of single precision."""
    unit = p.Part("targetingKey", _goff_key)
    ends = [float32(33.33) * 10, float32(float32(33.33) + float32(33.33)) * 10, 1_000.0]
    cuts = [first_number(1_000, lambda n, end=end: not n + 1 <= end) for end in ends]  # type: ignore[misc]
    lows = [0, *cuts]
    names = ["a", "b", "c"]
    arms = tuple(
        p.Arm(low, high, p.Outcome(name, Reason.SPLIT))
        for low, high, name in zip(lows, cuts, names, strict=False)
    )
    off = p.Outcome(None, Reason.DEFAULT)
    percent = first_number(100, lambda n: not n < float32(42.5))
    program = p.Program(
        (
            p.Rule(
                within(p.Bucketing((unit, b"checkout"), "crc32", 0, "modulo", 100), (0, percent)),
                p.Split(
                    p.Bucketing((b"checkout", unit), "crc32", 0, "modulo", 1_000), arms, off, off
                ),
            ),
        ),
        off,
    )

    def formula(context: Context) -> Said:
        value = context.get("targetingKey")
        if not isinstance(value, str) or not value:
            return None, "", "DEFAULT", None, {}
        text = value.encode("utf-8", "surrogatepass")
        if not crc32(text + b"checkout") % 100 < float32(42.5):
            return None, "", "DEFAULT", None, {}
        n = crc32(b"checkout" + text) % 1_000
        name = next(name for name, end in zip(names, ends, strict=True) if end >= n + 1)
        return {"a": 1, "b": 2, "c": 3}[name], name, "SPLIT", None, {}

    flag = compiled(program, {"a": 1, "b": 2, "c": 3})
    agree(flag, formula, contexts(7, targetingKey=["u-#", "e-#", ...]))


def test_flagsmith_variants_by_priority() -> None:
    """Percentages of ten decimals; a hundred is drawn again."""
    weights = [("control", 0.0), ("one", 12.5), ("two", 33.3)]
    key = (b"12,", p.Part("targetingKey", _goff_key))
    arms, start = [], 0.0
    for name, weight in weights:
        low, high = (
            first_number(9_998, lambda n, limit=limit: n / 9_998 * 100 >= limit)  # type: ignore[misc]
            for limit in (start, start + weight)
        )
        arms.append(p.Arm(low, high, p.Outcome(name, Reason.SPLIT)))
        start += weight
    missing = p.Outcome(error=ErrorCode.TARGETING_KEY_MISSING)
    split = p.Split(
        p.Bucketing(key, "md5_9999"), tuple(arms), p.Outcome("control", Reason.DEFAULT), missing
    )
    flag = compiled(p.Program((), split), {"control": 0, "one": 1, "two": 2})

    def formula(context: Context) -> Said:
        value = context.get("targetingKey")
        if not isinstance(value, str) or not value:
            return None, "", None, "TARGETING_KEY_MISSING", {}
        found, times = 100.0, 0
        while found == 100.0:
            times += 1
            text = ",".join(["12", value] * times).encode("utf-8", "surrogatepass")
            found = int(hashlib.md5(text).hexdigest(), 16) % 9_999 / 9_998 * 100
        start = 0.0
        for number, (name, weight) in enumerate(weights):
            if start <= found < start + weight:
                return number, name, "SPLIT", None, {}
            start += weight
        return 0, "control", "DEFAULT", None, {}

    asked = contexts(8, targetingKey=["u-#", "#", ...])
    asked += [{"targetingKey": str(n)} for n in range(20_000)]  # two of them are drawn again
    agree(flag, formula, asked)
    assert flag.reads == {"targetingKey"}

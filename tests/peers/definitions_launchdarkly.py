"""Flags and segments of LaunchDarkly at random, and contexts of one kind, several, or none."""

from functools import partial
from random import Random
from typing import Any

from tests.peers.values import VERSIONS, chance, number, often, some, text, unit, value

__all__ = ["context", "document"]

FLAGS = ("alpha", "beta", "gamma", "delta", "épsilon", "f😀")
SEGMENTS = ("s1", "s2", "s3", "s4")
USER = "user"
KINDS = (USER, "org", "device")
NAMES = (
    "country", "plan", "age", "version", "when", "tags", "nested", "email", "unit", "a/b", "a~b",
    "/slash",
)  # fmt: skip
REFERENCES = (
    *NAMES, "key", "name", "anonymous", "kind", "/nested/a", "/nested/b/c", "/country", "/a~1b",
    "/a~0b", "/tags/0", "/key", "/nested", "missing", "/missing/x", "nested.a", "/nested/1",
)  # fmt: skip
UNITS = (
    "key", "/key", "name", "anonymous", "version", "unit", "/unit", "missing", "/nested", "tags",
)  # fmt: skip
BAD_REFERENCES = ("", "/")  # SDKs differ about others
PATTERNS = (
    "^a", "b$", "a.c", "^user-[0-9]+$", r"\d+", "(a|b)c?", "a{2}", ".", r"@example\.com$", "😀",
    "é", "^$", r"\bU", "(?:a)b", "x*", "(", "[", "null",
)  # fmt: skip
DATES = (
    "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5Z", "2024-01-01T01:00:00+01:00",
    "2023-12-31T23:59:59.999Z", "2024-02-29T12:00:00Z", "2024-01-01T00:00:00.123456789Z",
    "2024-01-01", "2024-13-01T00:00:00Z", "now", "", "2024-01-01T00:00:00",
    "1970-01-01T00:00:00Z", 1704067200000, 0, -1, 1e12,
)  # fmt: skip
OPERATORS = (
    "in", "in", "startsWith", "endsWith", "contains", "matches", "lessThan", "lessThanOrEqual",
    "greaterThan", "greaterThanOrEqual", "before", "after", "semVerEqual", "semVerLessThan",
    "semVerGreaterThan", "unknown",
)  # fmt: skip


def document(r: Random) -> dict[str, Any]:
    """Return what clients are sent; flags and segments ask only those before them."""
    keys = FLAGS[: r.randint(1, len(FLAGS))]
    flags = {key: flag(r, key, keys[:place]) for place, key in enumerate(keys)}
    for key in keys[:-1]:  # an error of a flag that is asked is told in different ways by the SDKs
        mend(flags[key], len(flags[key]["variations"]))
    return {
        "flags": flags,
        "segments": {key: segment(r, key, SEGMENTS[:place]) for place, key in enumerate(SEGMENTS)},
    }


def mend(made: dict[str, Any], count: int) -> None:
    """Make what is malformed in a flag good."""
    for served_by in (made["fallthrough"], *made.get("rules", ())):
        arms = (
            served_by.get("rollout", {}).setdefault("variations", [])
            if "rollout" in served_by
            else []
        )
        if "rollout" in served_by and not arms:
            arms.append({"variation": 0, "weight": 100_000})
        for arm in (*arms, *((served_by,) if "variation" in served_by else ())):
            arm["variation"] = arm["variation"] % count
        if served_by.get("rollout", {}).get("bucketBy") in BAD_REFERENCES:
            del served_by["rollout"]["bucketBy"]
        mend_clauses(served_by.get("clauses", ()))
    for one in (*made.get("targets", ()), *made.get("contextTargets", ())):
        one["variation"] %= count
    if "offVariation" in made:
        made["offVariation"] %= count


def mend_clauses(clauses: Any) -> None:
    for made in clauses:
        if made["attribute"] in BAD_REFERENCES and made["op"] != "segmentMatch":
            made["attribute"] = "country"


def flag(r: Random, key: str, below: tuple[str, ...]) -> dict[str, Any]:
    make = r.choice(
        (
            lambda: r.choice((True, False)),
            lambda: r.choice(("x", "y", "", "é")),
            lambda: r.choice((0, 1, 2.5, -1)),
            lambda: {"a": value(r, 1)},
            lambda: value(r, 1),
        )
    )
    variations = some(r, make, 1, 4)
    count = len(variations)
    return {
        "key": key,
        "on": chance(r, 0.92),
        "salt": r.choice(("salt", "", "é", "😀")),
        "variations": variations,
        **often(r, 0.8, "offVariation", index(r, count)),
        "fallthrough": served(r, count),
        **often(
            r,
            0.3 if below else 0.02,
            "prerequisites",
            some(r, lambda: prerequisite(r, below), 0, 2),
        ),
        **often(r, 0.4, "targets", some(r, lambda: target(r, count), 0, 3)),
        **often(r, 0.3, "contextTargets", some(r, lambda: target(r, count, kinds=True), 0, 3)),
        **often(r, 0.9, "rules", some(r, lambda: rule(r, count), 0, 4)),
    }


def index(r: Random, count: int) -> int:
    return r.randrange(count) if chance(r, 0.96) else r.choice((-1, count, 99))


def prerequisite(r: Random, below: tuple[str, ...]) -> dict[str, Any]:
    key = r.choice(below) if below and chance(r, 0.95) else "nobody"
    return {"key": key, "variation": r.randint(0, 2)}


def target(r: Random, count: int, *, kinds: bool = False) -> dict[str, Any]:
    kind = r.choice(KINDS)  # keys of users stand among the other targets, and are only named here
    return {
        "variation": index(r, count),
        "values": [] if kind == USER and kinds else some(r, lambda: small_key(r), 0, 3),
        **({"contextKind": kind} if kinds else {}),
    }


def small_key(r: Random) -> str:
    return r.choice(("u-1", "u-2", "u-3", "é", "😀", "0", "a:b"))


def served(r: Random, count: int) -> dict[str, Any]:
    if chance(r, 0.5):
        return {"variation": index(r, count)}
    return {"rollout": rollout(r, count)}


def rollout(r: Random, count: int) -> dict[str, Any]:
    arms = r.choice((0, 1, 2, 2, 3, 3)) if chance(r, 0.3) else r.randint(1, 4)
    whole = 100_000
    cuts = sorted(r.randint(0, whole) for _ in range(max(arms - 1, 0)))
    weights = [high - low for low, high in zip([0, *cuts], [*cuts, whole], strict=True)][:arms]
    if chance(r, 0.15):
        weights = [r.choice((0, 1, 33333, 50000, 99999, 100000)) for _ in weights]
    return {
        "variations": [
            {
                "variation": index(r, count),
                "weight": weight,
                **often(r, 0.2, "untracked", chance(r, 0.5)),
            }
            for weight in weights
        ],
        **often(r, 0.4, "kind", r.choice(("experiment", "rollout"))),
        **often(r, 0.3, "contextKind", r.choice(KINDS)),
        **often(r, 0.4, "bucketBy", unit_reference(r)),
        **often(r, 0.3, "seed", r.choice((1, 61, -5, 2**31, 12345))),
    }


def reference(r: Random) -> str:
    return r.choice(REFERENCES) if chance(r, 0.97) else r.choice(BAD_REFERENCES)


def unit_reference(r: Random) -> str:
    return r.choice(UNITS) if chance(r, 0.97) else r.choice(BAD_REFERENCES)


def rule(r: Random, count: int) -> dict[str, Any]:
    clauses = some(r, lambda: clause(r, SEGMENTS), 0, 3)
    mend_clauses(clauses[:-1])  # the SDK for JavaScript forgets the error at the next clause
    return {
        **often(r, 0.8, "id", f"rule-{r.randint(0, 99)}"),
        "clauses": clauses,
        **served(r, count),
    }


def clause(r: Random, segments: tuple[str, ...]) -> dict[str, Any]:
    more = often(r, 0.25, "negate", chance(r, 0.8))
    if segments and chance(r, 0.15):
        values = some(r, lambda: r.choice((*segments, "nope", 1)), 0, 2)
        return {"op": "segmentMatch", "attribute": "", "values": values, **more}
    op = r.choice(OPERATORS)
    make = {
        "matches": lambda: r.choice(PATTERNS),
        "before": lambda: r.choice(DATES),
        "after": lambda: r.choice(DATES),
    }.get(op, lambda: version(r) if op.startswith("semVer") else known(r))
    if op.startswith(("less", "greater")):
        make = partial(number, r)
    # of a moment that has a fraction of a millisecond, some SDKs take it and some do not
    dated = r.choice(("when", "/when", "missing", "key", "anonymous", "/nested"))
    return {
        "op": op,
        "attribute": dated if op in ("before", "after") else reference(r),
        "values": some(
            r,
            lambda: make() if chance(r, 0.93) else "x" if op in ("before", "after") else known(r),
            0,
            3,
        ),
        **often(r, 0.6, "contextKind", r.choice(KINDS)),
        **more,
    }


def known(r: Random) -> Any:
    """Return any value but null, which to some of the SDKs is equal to itself."""
    made = value(r, 1)
    return "x" if made is None else made


def version(r: Random) -> Any:
    return r.choice(_VERSIONS)


# space around a version, and numbers that no double has exactly, are for some of the SDKs only
_VERSIONS = tuple(v for v in VERSIONS if v == v.strip() and not v.startswith("9999"))


def lists(r: Random) -> list[dict[str, Any]]:
    """Return keys of a kind; those of users are in lists of their own."""
    return [{"contextKind": r.choice(KINDS[1:]), "values": some(r, lambda: small_key(r), 0, 3)}]


def segment(r: Random, key: str, below: tuple[str, ...]) -> dict[str, Any]:
    return {
        "key": key,
        "salt": r.choice(("salt", "", "é")),
        "included": some(r, lambda: small_key(r), 0, 2),
        "excluded": some(r, lambda: small_key(r), 0, 2),
        **often(r, 0.3, "includedContexts", lists(r)),
        **often(r, 0.3, "excludedContexts", lists(r)),
        "rules": some(r, lambda: segment_rule(r, below), 0, 2),
        **(often(r, 0.5, "generation", 1) | {"unbounded": True} if chance(r, 0.05) else {}),
    }


def segment_rule(r: Random, below: tuple[str, ...]) -> dict[str, Any]:
    # a reference that cannot be read is an error of the whole segment here, and in LaunchDarkly of
    # who comes to it; and SDKs differ about a share of a kind that the context has not
    clauses = some(r, lambda: clause(r, below), 0, 2)
    mend_clauses(clauses)
    kind = r.choice((None, *KINDS))
    made = {"clauses": clauses, **often(r, 0.3, "bucketBy", r.choice(UNITS))}
    if kind:
        made["rolloutContextKind"] = kind
    if chance(r, 0.4):
        there = {
            "op": "in",
            "attribute": "key",
            "values": [],
            "negate": True,
            "contextKind": kind or USER,
        }
        made |= {
            "weight": r.choice((0, 1, 33333, 50000, 99999, 100000)),
            "clauses": [there, *clauses],
        }
    return made


def context(r: Random) -> dict[str, Any]:
    kind = r.random()
    if kind < 0.45:
        return individual(r, r.choice(KINDS), with_kind=True)
    if kind < 0.75:
        kinds = r.sample(KINDS, r.randint(1, 3))
        return {"kind": "multi", **{name: individual(r, name, with_kind=False) for name in kinds}}
    return old_user(r)


def key_of(r: Random) -> str:
    return small_key(r) if chance(r, 0.3) else unit(r) or "u"


def individual(r: Random, kind: str, *, with_kind: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": kind} if with_kind else {}
    made["key"] = key_of(r)
    made |= often(r, 0.2, "name", text(r)) | often(r, 0.2, "anonymous", chance(r, 0.5))
    return made | attributes(r)


def attributes(r: Random) -> dict[str, Any]:
    return {name: attribute(r, name) for name in NAMES if chance(r, 0.6)}


def attribute(r: Random, name: str) -> Any:
    if name != "unit" and chance(r, 0.1):
        return value(r)
    match name:
        case "version":
            return version(r)
        case "when":
            return r.choice(DATES)
        case (
            "unit"
        ):  # numbers beyond those that are exact are written in different ways by the SDKs
            return r.choice(
                (
                    text(r),
                    unit(r),
                    r.randint(-(10**12), 10**12),
                    r.randint(-5, 5),
                    1.5,
                    3.0,
                    True,
                    None,
                    [],
                )
            )
        case "age":
            return number(r)
        case "tags":
            return some(r, lambda: r.choice((text(r), version(r), number(r), value(r, 1))), 0, 3)
        case "nested":
            return {"a": value(r, 1), "b": {"c": value(r, 1)}, "1": value(r, 1)}
    return value(r, 1)


def old_user(r: Random) -> dict[str, Any]:
    """Return a user as clients had it before there were kinds of contexts."""
    made: dict[str, Any] = {"key": key_of(r)}
    made |= often(r, 0.3, "email", text(r)) | often(r, 0.3, "country", text(r))
    made |= often(r, 0.2, "name", text(r)) | often(r, 0.2, "anonymous", chance(r, 0.5))
    own = attributes(r)
    for name in ("email", "country", "name", "anonymous"):
        own.pop(name, None)
    return made | often(r, 0.8, "custom", own)

"""Features of GrowthBook at random, with saved groups and bandits, and attributes for them."""

from random import Random
from typing import Any

from tests.peers.values import VERSIONS, chance, number, often, some, text, unit, value

__all__ = ["context", "document"]

PLACES = ("0", "1", "2", "x", "-1", "", "1.5", "0x1")
FEATURES = ("alpha", "beta", "gamma", "delta", "épsilon", "f😀")
ATTRIBUTES = (
    "id", "deviceId", "country", "plan", "age", "version", "tags", "flags", "nested", "n.x",
)  # fmt: skip
PATHS = (
    *ATTRIBUTES, "nested.a", "nested.b.c", "tags.0", "tags.length", "missing", "nested.a.b",
    "nested.1",
)  # fmt: skip
PATTERNS = (
    "^a", "b$", "a.c", "^user-[0-9]+$", r"\d+", r"\w", r"[^a]", "(a|b)c?", "a{2}", "a{1,}", "x*",
    ".", "@example\\.com$", "a/b", r"\bU", "[A-Z]{2}", "(", "[", "*", "😀", ".{2}", "^.$",
    "\\u00e9", "é", "^$", "\\s", "[\\s\\S]", "(?:ab)+", "(?<n>a)b", "k", "\u017f", "ß", "$", "^",
    "a|",
    "\\.", "[😀]", "null", "-",
)  # fmt: skip
OPERATORS = (
    "$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$veq", "$vne", "$vlt", "$vlte", "$vgt", "$vgte",
    "$exists", "$in", "$nin", "$ini", "$nini", "$inGroup", "$notInGroup", "$all", "$alli",
    "$size", "$elemMatch", "$not", "$regex", "$regexi", "$type", "$unknown",
)  # fmt: skip


def condition(r: Random, depth: int = 3) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(r.choice((0, 1, 1, 1, 2, 3))):
        kind = r.random()
        if depth and kind < 0.07:
            found["$and"] = some(r, lambda: condition(r, depth - 1), 0, 2)
        elif depth and kind < 0.14:
            found["$or"] = some(r, lambda: condition(r, depth - 1), 0, 3)
        elif depth and kind < 0.18:
            found["$nor"] = some(r, lambda: condition(r, depth - 1), 0, 2)
        elif depth and kind < 0.24:
            found["$not"] = condition(r, depth - 1)
        elif kind < 0.29:
            found["$savedGroup"] = r.choice(
                (
                    {"id": group(r)},
                    {"id": group(r), "attributeKey": r.choice(PATHS)},
                    {},
                    {"id": 1},
                    group(r),
                )
            )
        else:
            found[r.choice(PATHS)] = wanted(r, depth)
    return found


def group(r: Random) -> str:
    return r.choice(("g1", "g2", "g3", "g4", "g5", "nope"))


def wanted(r: Random, depth: int) -> Any:
    if chance(r, 0.2):
        return value(r)
    return dict(some(r, lambda: operator(r, depth), 1, 2))


def operator(r: Random, depth: int) -> tuple[str, Any]:
    name = r.choice(OPERATORS)
    depth -= 1
    if depth < 0 and name in ("$elemMatch", "$not", "$size", "$all", "$alli"):
        name = "$eq"
    if name.startswith("$v"):
        return name, version(r)
    if name in ("$in", "$nin", "$ini", "$nini"):
        return name, some(r, lambda: value(r, 1), 0, 4) if chance(r, 0.93) else value(r)
    if name in ("$inGroup", "$notInGroup"):
        return name, group(r)
    if name in ("$all", "$alli"):
        return name, some(r, lambda: wanted(r, depth), 0, 3) if chance(r, 0.93) else text(r)
    if name == "$size":
        return name, r.choice((0, 1, 2, 3, "2", {"$gt": 1}, {"$lte": 2}, True))
    if name == "$elemMatch":
        made = wanted(r, depth) if chance(r, 0.7) else condition(r, depth)
        return name, made if isinstance(made, dict) else {"$eq": made}
    if name == "$not":
        return name, wanted(r, depth)
    if name in ("$regex", "$regexi"):
        return name, r.choice(PATTERNS)
    if name == "$type":
        return name, r.choice(
            ("string", "number", "boolean", "array", "object", "null", "undefined", "x")
        )
    if name == "$exists":
        return name, r.choice((True, False, 0, 1, "", "x", None, []))
    return name, value(r)


def version(r: Random) -> Any:
    return r.choice(VERSIONS) if chance(r, 0.9) else value(r)


def fraction(r: Random) -> float:
    return r.choice(
        (
            0,
            1,
            0.5,
            0.25,
            0.1,
            0.001,
            0.333,
            0.9999,
            1 / 3,
            -0.5,
            1.5,
            r.random(),
            round(r.random(), 2),
        )
    )


def pair(r: Random) -> list[float]:
    ends = [fraction(r), fraction(r)]
    return sorted(ends) if chance(r, 0.9) else ends


def weights(r: Random, count: int) -> list[float]:
    if chance(r, 0.2):
        return [fraction(r) for _ in range(r.randint(0, 4))]
    cuts = sorted(round(r.random(), r.choice((1, 2, 4, 16))) for _ in range(count - 1))
    return [high - low for low, high in zip([0.0, *cuts], [*cuts, 1.0], strict=True)]


def hashing(r: Random) -> dict[str, Any]:
    return {
        **often(r, 0.4, "seed", r.choice(("s", "", "é", "😀", "seed-1"))),
        **often(
            r,
            0.4,
            "hashAttribute",
            r.choice(("id", "deviceId", "country", "age", "", "n.x", "tags", "flags")),
        ),
        **often(r, 0.5, "hashVersion", r.choice((1, 2, 2, 3, 0, None))),
        **often(r, 0.2, "fallbackAttribute", r.choice(("deviceId", "country", ""))),
        **often(r, 0.1, "disableStickyBucketing", r.choice((True, False))),
    }


def filtered(r: Random) -> dict[str, Any]:
    return {
        "seed": r.choice(("f1", "", "é")),
        "ranges": some(r, lambda: pair(r), 0, 3),
        **often(r, 0.5, "hashVersion", r.choice((1, 2))),
        **often(r, 0.5, "attribute", r.choice(("id", "deviceId", "country", ""))),
    }


def parent(r: Random, below: tuple[str, ...]) -> dict[str, Any]:
    wanted_value = r.choice(
        (
            {"value": value(r)},
            {"value": {"$exists": True}},
            {"value": True},
            {"value": {"$gt": 1}},
            {"value.a": {"$exists": False}},
            {},
            {"value": {"$in": ["x", "y", 1]}},
            condition(r, 1),
        )
    )
    return {
        "id": r.choice(below) if below and chance(r, 0.93) else "nobody",
        **often(r, 0.93, "condition", wanted_value),
        **often(r, 0.4, "gate", r.choice((True, False))),
    }


def rule(r: Random, below: tuple[str, ...], served: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        **often(r, 0.6, "id", f"r{r.randint(0, 99)}"),
        **often(r, 0.4, "condition", condition(r)),
        **often(r, 0.2, "filters", some(r, lambda: filtered(r), 0, 2)),
        **often(
            r, 0.25 if below else 0.03, "parentConditions", some(r, lambda: parent(r, below), 0, 2)
        ),
        **hashing(r),
    }
    if chance(r, 0.45):
        made["force"] = served()
        made |= often(r, 0.4, "coverage", fraction(r)) | often(r, 0.15, "range", pair(r))
        return made
    count = r.choice((1, 2, 2, 2, 3, 3, 5))
    made[r.choice(("variations", "variations", "variations", "contextualVariations"))] = some(
        r, served, count, count
    )
    made |= often(r, 0.5, "key", r.choice(("exp-1", "exp-2", "é", "")))
    made |= often(r, 0.5, "weights", weights(r, count)) | often(r, 0.5, "coverage", fraction(r))
    made |= often(r, 0.2, "ranges", some(r, lambda: pair(r), 0, count + 1))
    made |= often(r, 0.2, "namespace", [r.choice(("ns", "é", "")), fraction(r), fraction(r)])
    made |= often(r, 0.3, "phase", r.choice(("0", "1", "2")))
    made |= often(r, 0.2, "bucketVersion", r.choice((0, 1, 2)))
    made |= often(r, 0.1, "minBucketVersion", r.choice((0, 1, 2)))
    made |= often(r, 0.15, "contextualBanditRef", r.choice(("cb1", "cb2", "cb3", "nope")))
    if chance(r, 0.4):
        made["meta"] = [
            {
                **often(r, 0.7, "key", r.choice((f"v{place}", "same", ""))),
                **often(r, 0.5, "name", f"Variation {place}"),
                **often(r, 0.15, "passthrough", r.choice((True, False))),
            }
            for place in range(count)
        ]
        if any(variation.get("passthrough") for variation in made["meta"]):
            made["key"] = f"holdout-{r.randint(0, 10**9)}"  # what it stores, no other one finds
    return made


def experiment(r: Random, below: tuple[str, ...], served: Any) -> dict[str, Any]:
    """Return an experiment as applications give it to `run`."""
    made = rule(r, below, served)
    for name in ("force", "contextualVariations", "contextualBanditRef", "id", "range"):
        made.pop(name, None)
    made.setdefault("variations", [served(), served()])
    for item in ("weights", "meta", "ranges"):
        made.pop(item, None)
    made |= {"key": r.choice(("exp-1", "exp-2", "é"))}
    made |= often(r, 0.2, "force", r.choice((0, 1, 5, -1)))
    made |= often(r, 0.2, "status", r.choice(("draft", "running", "stopped")))
    made |= often(r, 0.1, "active", r.choice((True, False)))
    return made


def feature(r: Random, below: tuple[str, ...], alone: bool = False) -> dict[str, Any]:
    served = r.choice(
        (
            lambda: r.choice(("x", "y", "z", "é", "")),
            lambda: r.choice((True, False)),
            lambda: r.choice((0, 1, 2, 3.5, -1)),
            lambda: {"a": r.choice((1, "x", None, [1])), **({"b": {}} if chance(r, 0.3) else {})},
        )
    )
    if alone:
        return experiment(r, below, served)
    return {
        **often(r, 0.9, "defaultValue", served() if chance(r, 0.9) else None),
        **often(r, 0.95, "rules", some(r, lambda: rule(r, below, served), 0, 4)),
    }


def document(r: Random) -> dict[str, Any]:
    """Return a payload; features ask only those before them, as GrowthBook saves no circles."""
    names = FEATURES[: r.randint(1, len(FEATURES))]
    return {
        "features": {
            **{name: feature(r, names[:place]) for place, name in enumerate(names)},
            "run": feature(r, names, alone=True),
        },
        "savedGroups": {
            "g1": some(r, lambda: value(r, 0), 0, 4),
            "g2": {
                "type": "list",
                "attributeKey": r.choice(PATHS),
                "values": some(r, lambda: value(r, 0), 0, 4),
            },
            "g3": {"type": "condition", "condition": condition(r, 2)},
            "g4": r.choice(
                (
                    {"type": "other"},
                    {"type": "list"},
                    {"type": "condition"},
                    "x",
                    {"type": "list", "values": ["a"]},
                )
            ),
        },
        "contextualBandits": {
            name: {
                "banditVersion": r.randint(0, 3),
                "contexts": [
                    {"leafId": place, "condition": condition(r, 1), "weights": weights(r, 2)}
                    for place in range(r.randint(0, 3))
                ],
            }
            for name in ("cb1", "cb2")
        },
    }


def context(r: Random) -> dict[str, Any]:
    """Return attributes, and now and then what of a request is told beside them."""
    made: dict[str, Any] = {}
    for name in ATTRIBUTES:
        if chance(r, 0.25):
            continue
        if name in ("id", "deviceId") and chance(r, 0.85):
            made[name] = unit(r)
        elif name == "version":
            made[name] = version(r)
        elif name in ("tags", "flags") and chance(r, 0.8):
            made[name] = some(r, lambda: value(r, 1), 0, 4)
        elif name == "age" and chance(r, 0.8):
            made[name] = number(r)
        elif name == "nested" and chance(r, 0.8):
            made[name] = {"a": value(r), "b": {"c": value(r)}, **often(r, 0.4, "1", value(r))}
        else:
            made[name] = value(r)
    if chance(r, 0.2):
        made["$growthbook"] = request(r)
    return made


def request(r: Random) -> dict[str, Any]:
    keys = ("exp-1", "exp-2", "é", *FEATURES)
    documents = {}
    for name in ("id", "deviceId", "country"):
        documents[f"{name}||{unit(r)}"] = {
            "assignments": {
                f"{k}__{r.randint(0, 2)}": r.choice(("v0", "v1", "same", "no"))
                for k in keys
                if chance(r, 0.5)
            }
        }
    return {
        **often(r, 0.1, "enabled", r.choice((True, False))),
        **often(r, 0.1, "qaMode", r.choice((True, False))),
        **often(
            r,
            0.3,
            "forcedVariations",
            {k: r.choice((0, 1, 2, -1, 7)) for k in keys if chance(r, 0.3)},
        ),
        **often(
            r,
            0.3,
            "url",
            f"https://x.test/?{r.choice(keys)}={r.choice(PLACES)}#a",
        ),
        **often(r, 0.6, "stickyBucketAssignmentDocs", documents if chance(r, 0.8) else {}),
    }

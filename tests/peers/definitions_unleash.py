"""Toggles and segments of Unleash at random, and contexts for them."""

from random import Random
from typing import Any

from tests.peers.values import TEXTS, chance, often, some

__all__ = ["context", "document"]

TOGGLES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
FIELDS = (
    "userId", "sessionId", "remoteAddress", "appName", "environment", "country", "age", "version",
    "tenant", "missing",
)  # fmt: skip
NUMBERS = (
    "0", "1", "-1", "5", "5.0", "05", "+5", "5.5", "1e3", "1E3", "0.1", "-0", "9007199254740993",
    "1e-400", "100", "4.9999999999999999", "1.", ".5", "NaN", "1_000", "abc",
)  # fmt: skip
_WRITTEN = (
    "0", "1", "-1", "5", "5.0", "05", "5.5", "1e3", "1E3", "0.1", "9007199254740993", "100", "1.",
)  # fmt: skip
"""What a constraint has: a number, and not only what an SDK may take for one."""

DATES = (
    "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000Z", "2024-01-01T01:00:00+01:00",
    "2023-12-31T23:59:59Z", "2024-02-29T12:00:00+05:30", "2099-01-01T00:00:00Z",
    "2024-01-01T00:00:00.001Z", "2024-01-01T00:00:00.5Z",
)  # fmt: skip
_STRICT = (
    "1.0.0", "1.2.3", "1.10.0", "1.2.3-alpha", "1.2.3-alpha.1", "1.2.3-alpha.beta",
    "1.2.3-beta.11", "1.2.3+build", "1.2.3-rc.1+b.2", "1.2.3-0", "1.2.3--", "1.2.3-a-b",
    "1.2.3-A",
)  # fmt: skip
VERSIONS = (
    *_STRICT, "1", "1.2", "v1.2.3", "01.2.3", "1.2.3-01", "1.2.3.4", "1.2.3-", "x.y.z", "",
    "=1.2.3",
)  # fmt: skip
# SDKs differ about space around texts, and about how they hash what is not ASCII
WORDS = tuple(word for word in TEXTS if word and word == word.strip())

ADDRESSES = (
    "10.0.0.1", "10.0.0.2", "10.1.2.3", "192.168.1.1", "::1", "2001:db8::1",
    "2001:db8:0:0:0:0:0:1", "10.0.0.256", "x",
)  # fmt: skip
IPV4 = (
    "10.0.0.1", "10.0.0.2", "10.0.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "10.0.0.1/32",
    "10.0.0.7/24", "10.0.0.0/33", "x/8",
)  # fmt: skip
NETWORKS = (*IPV4, "::1", "2001:db8::1", "2001:db8::/32", "::/0")
PATTERNS = (
    "^a", "b$", "a.c", "^user-[0-9]+$", r"\d+", r"[^a]", "(a|b)c?", "a{2}", ".",
    r"@example\.com$", "(?i)USER", "[[:alpha:]]", "😀", "^.$", "é", "^$", r"\bU", "(?P<n>a)b",
    "x*", "(", "[", "null", "(?=a)", r"(a)\1", "",
)  # fmt: skip
STRATEGIES = (
    "default", "flexibleRollout", "flexibleRollout", "flexibleRollout", "userWithId",
    "gradualRolloutUserId", "gradualRolloutSessionId", "remoteAddress", "code",
)  # fmt: skip
OPERATORS = (
    "IN", "NOT_IN", "STR_STARTS_WITH", "STR_ENDS_WITH", "STR_CONTAINS", "NUM_EQ", "NUM_GT",
    "NUM_GTE", "NUM_LT", "NUM_LTE", "DATE_AFTER", "DATE_BEFORE", "SEMVER_EQ", "SEMVER_GT",
    "SEMVER_GTE", "SEMVER_LT", "SEMVER_LTE", "REGEX", "IN_CIDR",
)  # fmt: skip


def document(r: Random) -> dict[str, Any]:
    names = TOGGLES[: r.randint(1, len(TOGGLES))]
    return {
        "version": 2,
        "features": [toggle(r, name, names[:place]) for place, name in enumerate(names)],
        "segments": [
            {
                "id": number,
                "name": f"s{number}",
                "constraints": some(r, lambda: constraint(r), 0, 2),
            }
            for number in (1, 2, 3)
        ],
    }


def toggle(r: Random, name: str, below: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": name,
        "enabled": chance(r, 0.93),
        "strategies": some(r, lambda: strategy(r, name), 0, 3),
        **often(r, 0.5, "variants", weighty(some(r, lambda: variant(r), 0, 4))),
        **often(
            r, 0.3 if below else 0, "dependencies", some(r, lambda: dependency(r, below), 0, 2)
        ),
    }


def dependency(r: Random, below: tuple[str, ...]) -> dict[str, Any]:
    return {
        "feature": r.choice(below) if below and chance(r, 0.95) else "nobody",
        **often(r, 0.6, "enabled", chance(r, 0.6)),
        **often(r, 0.3, "variants", some(r, lambda: r.choice(("a", "b", "c", "disabled")), 0, 2)),
    }


def variant(r: Random) -> dict[str, Any]:
    payload = r.choice(
        (
            {"type": "string", "value": r.choice(TEXTS)},
            {"type": "json", "value": '{"a": 1}'},
            {"type": "number", "value": "5"},
            {"type": "csv", "value": "a,b"},
        )
    )
    return {
        "name": r.choice(("a", "b", "c", "é")),
        "weight": r.choice((0, 1, 333, 500, 1000, r.randint(0, 1000))),
        "weightType": "variable",
        **often(r, 0.7, "stickiness", stickiness(r)),
        **often(r, 0.6, "payload", payload),
        **often(r, 0.25, "overrides", some(r, lambda: override(r), 0, 2)),
    }


def weighty(variants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return variants of which the first has a weight, so that there is one to be had."""
    if variants:
        variants[0]["weight"] += 1
    return variants


def override(r: Random) -> dict[str, Any]:
    return {"contextName": r.choice(FIELDS), "values": some(r, lambda: wanted(r), 0, 2)}


def stickiness(r: Random) -> str:
    return r.choice(("default", "default", "userId", "sessionId", "tenant", "country", "missing"))


def strategy(r: Random, name: str) -> dict[str, Any]:
    kind = r.choice(STRATEGIES)
    percentage = str(r.choice((0, 1, 33, 50, 99, 100, r.randint(0, 100))))
    group = r.choice((name, "group", "a:b", "a group"))
    parameters: dict[str, Any] = {}
    match kind:
        case "flexibleRollout":
            parameters = {"rollout": percentage, "stickiness": stickiness(r), "groupId": group}
        case "userWithId":
            parameters = {
                "userIds": r.choice((",", ", ", " ,")).join(some(r, lambda: unit(r), 1, 3))
            }
        case "gradualRolloutUserId" | "gradualRolloutSessionId":
            parameters = {"percentage": percentage, "groupId": group}
        case "remoteAddress":
            parameters = {"IPs": r.choice((",", ", ")).join(some(r, lambda: r.choice(IPV4), 1, 3))}
    return {
        "name": kind,
        "parameters": parameters,
        **often(r, 0.6, "constraints", some(r, lambda: constraint(r), 0, 2)),
        **often(r, 0.2, "segments", some(r, lambda: r.choice((1, 2, 3, 9)), 0, 2)),
        **often(
            r,
            0.35 if kind == "flexibleRollout" else 0,
            "variants",
            weighty(some(r, lambda: own_variant(r, parameters), 0, 3)),
        ),
    }


def own_variant(r: Random, parameters: dict[str, Any]) -> dict[str, Any]:
    made = variant(r)
    made.pop("overrides", None)
    return made | {"stickiness": parameters.get("stickiness", "default")}


def unit(r: Random) -> str:
    return (
        r.choice(("u-1", "u-2", "0", "null", "a:b"))
        if chance(r, 0.3)
        else f"user-{r.randint(0, 10**9)}"
    )


def wanted(r: Random) -> str:
    return r.choice((r.choice(WORDS), unit(r), "NL", "DE", "u-1"))


def constraint(r: Random) -> dict[str, Any]:
    operator = r.choice(OPERATORS)
    made: dict[str, Any] = {"operator": operator, **often(r, 0.5, "inverted", chance(r, 0.5))}
    made |= often(r, 0.3, "caseInsensitive", chance(r, 0.7))
    name = r.choice(FIELDS)
    match operator.split("_")[0]:
        case "NUM":
            made |= {"value": r.choice(_WRITTEN)}
            name = "age" if chance(r, 0.8) else name
        case "DATE":
            made |= {"value": r.choice(DATES)}
            name = "currentTime"
        case "SEMVER":
            made |= {"value": r.choice(_STRICT)}
            name = "version" if chance(r, 0.8) else name
        case "REGEX":
            made |= {"value": r.choice(PATTERNS)}
        case "IN" if operator == "IN_CIDR":
            made |= {"values": some(r, lambda: r.choice(NETWORKS), 1, 3)}
            name = "remoteAddress"
        case _:
            made |= {"values": some(r, lambda: wanted(r), 1, 3)}
    return made | {"contextName": name}


def context(r: Random) -> dict[str, Any]:
    properties: dict[str, str] = {"tenant": unit(r)}
    properties |= often(r, 0.6, "country", r.choice(("NL", "DE", "u-1", unit(r)))) | often(
        r, 0.7, "age", r.choice(NUMBERS)
    )
    properties |= often(r, 0.7, "version", r.choice(VERSIONS))
    made: dict[str, Any] = {"properties": properties}
    made |= often(r, 0.75, "userId", unit(r)) | often(r, 0.4, "appName", wanted(r))
    made |= often(r, 0.4, "environment", wanted(r)) | often(
        r, 0.6, "remoteAddress", r.choice(ADDRESSES)
    )
    made |= often(r, 0.7, "currentTime", r.choice(DATES))
    if not made.get("userId") or chance(r, 0.3):
        made["sessionId"] = unit(r)
    return made

"""The flags that load is made with. Their keys begin with `load.`, so that they are told apart."""

from typing import Any

from loadtests.answers import FlagUnderLoad

__all__ = ["COUNTRIES", "flags", "toggle"]

COUNTRIES = ("DE", "FR", "PL", "US")
_PLAIN = 10
_SPLIT = 10


def flags() -> list[FlagUnderLoad]:
    """Return what applications ask for: ten plain flags, ten with two conditions and a split."""
    plain = [
        {"key": f"load.plain-{n}", "type": "boolean", "value": n % 2 == 0, "enabled": True}
        for n in range(_PLAIN)
    ]
    return [FlagUnderLoad(d, sticky=True) for d in (*plain, *map(_split, range(_SPLIT)))]


def toggle(name: str) -> FlagUnderLoad:
    """Return the flag that one writer switches on and off."""
    document = {"key": f"load.toggle-{name}", "type": "boolean", "value": True, "enabled": True}
    return FlagUnderLoad(document, sticky=False)


def _split(number: int) -> dict[str, Any]:
    halves = [{"variant": "a", "weight": 50_000}, {"variant": "b", "weight": 50_000}]
    rule = {
        "id": "adults-at-home",
        "when": {
            "all": [
                {"attribute": "country", "op": "in", "values": list(COUNTRIES[:3])},
                {"attribute": "age", "op": "gte", "values": [18]},
            ]
        },
        "serve": {"rollout": {"arms": halves}},
    }
    config = {"enabled": True, "rules": [rule], "fallthrough": {"variant": "none"}}
    return {
        "key": f"load.split-{number}",
        "type": "string",
        "variants": {"a": f"a{number}", "b": f"b{number}", "none": "none"},
        "environments": {"production": config},
    }

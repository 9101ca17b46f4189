"""Short ways to ask what is wrong with a flag, for the tests of validation."""

from typing import Any

from proxy.contract.definitions import Flag
from proxy.engine import check_flag
from tests.proxy.engine.builders import authored, segment

__all__ = ["PRODUCTION", "found", "of_split", "split", "with_config"]

PRODUCTION = "/environments/production"


def found(flag: Flag, *segments: str, **options: Any) -> list[tuple[str, str]]:
    """Return pointer and code of each problem of a flag."""
    known = {key: segment(key) for key in segments}
    return [(p.pointer, p.code) for p in check_flag(flag, known, **options)]


def with_config(**config: Any) -> list[tuple[str, str]]:
    """Return pointer below the environment, and code, of each problem of a configuration."""
    problems = found(authored(config=config))
    assert all(pointer.startswith(PRODUCTION) for pointer, _ in problems)
    return [(pointer.removeprefix(PRODUCTION), code) for pointer, code in problems]


def split(*arms: Any, **rollout: Any) -> dict[str, Any]:
    """Return a rollout over arms (variant, weight[, ranges])."""
    names = ("variant", "weight", "ranges")
    given_arms = [dict(zip(names, arm, strict=False)) for arm in arms]
    return {"rollout": {"arms": given_arms, **rollout}}


def of_split(*arms: Any, **rollout: Any) -> list[tuple[str, str]]:
    """Return pointer below the rollout, and code, of each problem of a rollout."""
    problems = with_config(fallthrough=split(*arms, **rollout))
    return [(pointer.removeprefix("/fallthrough/rollout"), code) for pointer, code in problems]

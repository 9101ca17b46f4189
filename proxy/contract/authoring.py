"""From what an author writes to a `Flag`, and from a `Flag` to what one environment is sent.

Authors write as little as `{"key", "type", "value", "enabled"}`; `expand` makes the whole flag of
it, the same for the API and for a file. `project` is the other end: the view of one environment.
Pure: salts and the names of the environments are arguments.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import (
    BUCKETS,
    EnvironmentConfig,
    Flag,
    FlagDefinition,
    FlagType,
    Rule,
    Segment,
    SegmentDefinition,
    Serve,
)
from proxy.contract.problems import Problem, pointer

__all__ = [
    "DefinitionsFile",
    "FlagInput",
    "disagreements",
    "expand",
    "normalise_values",
    "project",
    "project_segment",
    "same_value",
    "served",
    "simple_variants",
    "variant_of",
    "with_rule_ids",
]


class FlagInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A flag as an author writes it.

    Simple: `key`, `type`, `value`, `enabled` and no `variants` or `environments`; all environments
    are configured alike. Full: `variants` and `environments`; `value` and `enabled`, if there, must
    agree with them. `version`, `created_at` and `updated_at` are taken and ignored, so that what
    was read can be sent back.
    """

    key: str | UnsetType = UNSET
    type: FlagType | UnsetType = UNSET
    value: Any = UNSET
    enabled: bool | UnsetType = UNSET
    variants: dict[str, Any] | UnsetType = UNSET
    environments: dict[str, EnvironmentConfig] | UnsetType = UNSET
    name: str = ""
    description: str = ""
    tags: list[str] = []
    owner: str = ""
    expires: str | UnsetType | None = UNSET
    metadata: dict[str, Any] = {}
    client_side: bool = False
    track: bool = False
    archived: bool = False
    version: int | UnsetType = UNSET
    created_at: str | UnsetType = UNSET
    updated_at: str | UnsetType = UNSET


class DefinitionsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file a sidecar can serve alone: flags as authors write them, and segments."""

    flags: list[FlagInput]
    segments: list[Segment] = []


def expand(
    document: FlagInput,
    environments: Sequence[str],
    new_salt: Callable[[], str] | None = None,
) -> tuple[Flag | None, list[Problem]]:
    """Return the whole flag that a document stands for, or None and what it lacks.

    Without `new_salt` absent salts stay absent, and the flag's key serves as one. Whether the flag
    makes sense is not looked at here.
    """
    missing = [_missing(member) for member in ("key", "type") if getattr(document, member) is UNSET]
    if document.variants is UNSET and document.value is UNSET:
        missing.append(_missing("value", "give a value, or variants and environments"))
    elif document.environments is UNSET and document.value is UNSET:
        missing.append(_missing("environments", "or give the value that is served"))
    if missing or isinstance(document.key, UnsetType) or isinstance(document.type, UnsetType):
        return None, missing
    if isinstance(document.variants, UnsetType):
        variants, off_variant = simple_variants(document.type, document.value)
    else:
        variants, off_variant = document.variants, UNSET
    variants = normalise_values(document.type, variants)
    if isinstance(document.environments, UnsetType):
        served = variant_of(document.type, variants, document.value)
        if served is None:
            message = "no variant has this value"
            return None, [Problem("/value", ProblemCode.VALUE_DISAGREES, message)]
        config = EnvironmentConfig(
            fallthrough=Serve(variant=served),
            enabled=document.enabled is True,
            off_variant=off_variant,
        )
        configs = dict.fromkeys(environments, config)
    else:
        configs = document.environments
    flag = Flag(
        key=document.key,
        type=document.type,
        variants=variants,
        environments={name: _completed(config, new_salt) for name, config in configs.items()},
        name=document.name,
        description=document.description,
        tags=document.tags,
        owner=document.owner,
        expires=UNSET if document.expires is None else document.expires,
        metadata=document.metadata,
        client_side=document.client_side,
        track=document.track,
        archived=document.archived,
    )
    return flag, []


def simple_variants(kind: FlagType, value: Any) -> tuple[dict[str, Any], str | UnsetType]:
    """Return the variants made from one value, and the off variant, as the simple body has them."""
    if kind == "boolean" and isinstance(value, bool):
        return {"on": True, "off": False}, "off"
    return {"default": value}, UNSET


def variant_of(kind: FlagType, variants: dict[str, Any], value: Any) -> str | None:
    """Return the first variant that has this value, or None."""
    wanted = normalise_values(kind, {"": value})[""]
    return next((name for name, has in variants.items() if same_value(has, wanted)), None)


def same_value(a: Any, b: Any) -> bool:
    """Return whether two JSON values are the same: `True` is not `1`, and `1` is not `1.0`."""
    encode = msgspec.json.Encoder(order="deterministic").encode
    return encode(a) == encode(b)


def normalise_values(kind: FlagType, variants: dict[str, Any]) -> dict[str, Any]:
    """Return the variants with whole numbers of a `number` flag as floats, so that 10 is 10.0.

    Clients tell integer and float by the literal; without this the type of an answer would depend
    on how its author happened to write it.
    """
    if kind != "number":
        return variants
    return {
        name: float(v) if isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**53 else v
        for name, v in variants.items()
    }


def with_rule_ids(
    rules: list[Rule], taken: Collection[str | UnsetType] = frozenset()
) -> list[Rule]:
    """Return the rules, those without an id given the first free `rule-<n>`, not one of `taken`."""
    taken = {rule.id for rule in rules}.union(taken)
    completed: list[Rule] = []
    number = 0
    for rule in rules:
        if rule.id is not UNSET:
            completed.append(rule)
            continue
        number += 1
        while f"rule-{number}" in taken:
            number += 1
        completed.append(msgspec.structs.replace(rule, id=f"rule-{number}"))
    return completed


def served(flag: Flag, environment: str) -> tuple[bool, Any]:
    """Return `enabled` and `value` for an environment: what its fallthrough serves.

    Of a rollout it is the heaviest arm's, the first of equals; of a ramp what is heavier at its
    end. Where the flag is not configured it is what a first configuration would serve: the first
    variant, disabled.
    """
    config = flag.environments.get(environment)
    if config is None:
        return False, next(iter(flag.variants.values()), None)
    return config.enabled, flag.variants.get(_main_variant(config.fallthrough))


def _main_variant(serve: Serve) -> str:
    if serve.rollout is not UNSET:
        heaviest = max(serve.rollout.arms, key=lambda arm: arm.weight, default=None)
        return "" if heaviest is None else heaviest.variant
    if serve.ramp is not UNSET:
        return serve.ramp.variant if serve.ramp.to * 2 >= BUCKETS else serve.ramp.else_
    return serve.variant or ""


def disagreements(document: FlagInput, flag: Flag, asked: str) -> list[Problem]:
    """Return where the `value` and `enabled` of a full body say another thing than the rest."""
    enabled, value = served(flag, asked)
    problems = []
    hint = f"change it in {pointer('environments', asked)} too, or leave it out here"
    wanted = document.value
    if wanted is not UNSET:
        wanted = normalise_values(flag.type, {"": wanted})[""]
        # A fallthrough to a variant that is not there serves nothing, and is a problem of its own.
        if value is not None and not same_value(wanted, value):
            message = f"the rest of the document serves another value in {asked!r}"
            problems.append(Problem("/value", ProblemCode.VALUE_DISAGREES, message, hint))
    if document.enabled is not UNSET and document.enabled is not enabled:
        message = f"the rest of the document has {str(enabled).lower()} for {asked!r}"
        problems.append(Problem("/enabled", ProblemCode.VALUE_DISAGREES, message, hint))
    return problems


def project(flag: Flag, environment: str) -> FlagDefinition:
    """Return the flag as one environment serves it; disabled where it is not configured."""
    config = flag.environments.get(environment)
    if config is None:
        config = EnvironmentConfig(fallthrough=Serve(variant=next(iter(flag.variants), "")))
    return FlagDefinition(
        type=flag.type,
        variants=flag.variants,
        fallthrough=config.fallthrough,
        salt=flag.key if isinstance(config.salt, UnsetType) else config.salt,
        enabled=config.enabled,
        off_variant=config.off_variant,
        prerequisites=config.prerequisites,
        targets=config.targets,
        rules=config.rules,
        metadata=flag.metadata,
        client_side=flag.client_side,
        track=flag.track,
        source=config.source,
    )


def project_segment(segment: Segment) -> SegmentDefinition:
    """Return the segment as sidecars are sent it."""
    return SegmentDefinition(
        segment.when, segment.included, segment.excluded, segment.units, segment.source
    )


def _completed(config: EnvironmentConfig, new_salt: Callable[[], str] | None) -> EnvironmentConfig:
    salt = new_salt() if config.salt is UNSET and new_salt is not None else config.salt
    return msgspec.structs.replace(config, salt=salt, rules=with_rule_ids(config.rules))


def _missing(member: str, hint: str = "") -> Problem:
    return Problem(pointer(member), ProblemCode.MISSING_FIELD, f"{member} is missing", hint)

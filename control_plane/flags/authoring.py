"""From the bodies that people send to the flag that is stored. Pure.

    create   POST: the whole flag of a simple or a full body
    replace  PUT:  simple, only what the asked environment serves, or full
    patched  PATCH: a JSON merge patch (RFC 7396) of what a read gives

A body with `variants` or `environments` is full: `value` and `enabled`, if there, must agree with
it, and environments other than the asked one must be absent or unchanged. Any other is simple, and
of its members those that are absent stay as they are.

Rules:
- No existing variant's value changes by a simple body; a value that no variant has becomes one.
  Nor does one go that another flag's prerequisite names.
- Salts stay unless given; ranges of rollouts are kept by `rebucketing.keep_ranges`, and the ids of
  rules, which they hang on, by `rule_ids.with_kept_ids`.
- What a flag means is validated afterwards, by the engine; here is what only the API knows. So a
  draft carries its problems to where the others are found, and its author is told all of them.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.documents import NO_FLAWS, Flaws, invalid, same_document
from control_plane.errors import Conflict
from control_plane.flags.rebucketing import keep_ranges, served_before, serves_of
from control_plane.flags.rule_ids import with_kept_ids
from proxy.contract.authoring import (
    FlagInput,
    disagreements,
    expand,
    normalise_values,
    same_value,
    served,
    variant_of,
)
from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.definitions import EnvironmentConfig, Flag, Serve
from proxy.contract.problems import Problem, pointer

__all__ = [
    "Circumstances",
    "Draft",
    "create",
    "copied_config",
    "is_full",
    "merge_config",
    "patched",
    "replace",
    "same_document",
]

NewSalt = Callable[[], str]

_PRODUCTION = "production"
_PLAIN = (
    *("name", "description", "tags", "owner", "expires"),
    *("metadata", "client_side", "track", "archived"),
)
_MADE = re.compile(r"value-[0-9a-f]{8,64}")
_MAX_UNUSED = 50  # variants made for values and served no more: history enough to go back to
_canonical = msgspec.json.Encoder(order="deterministic")


class Circumstances(NamedTuple):
    """What a body does not say: where and when it comes, and what others need of the flag."""

    environments: Collection[str]
    """Those of the project, in the order in which a simple body configures them."""
    asked: str
    """The environment that the request is about."""
    new_salt: NewSalt
    now_ms: int
    """Unix time: a ramp that a rollout takes the place of has come so far by then."""
    needed: Callable[[], Collection[str]] = frozenset
    """Returns the variants that prerequisites of other flags name; asked when one would go."""


class Draft(NamedTuple):
    """A flag that was worked out, and what the API has against it; most often nothing."""

    flag: Flag
    problems: Sequence[Problem] = ()
    flaws: Flaws = NO_FLAWS
    """What is wrong with the shape of the body; `flag` is without it, and cannot be stored."""


def is_full(members: Collection[str]) -> bool:
    """Return whether a body with these members describes the whole flag."""
    return "variants" in members or "environments" in members


def create(document: FlagInput, around: Circumstances) -> Draft:
    """Return the flag that a body creates.

    Raises:
        Invalid: with all that it lacks to be a flag at all.
    """
    flag, problems = expand(document, list(around.environments), around.new_salt)
    if flag is None:
        raise invalid(problems)
    problems = _unknown_environments(flag, around.environments)
    if document.environments is not UNSET:
        problems += disagreements(document, flag, around.asked)
    configs = {
        name: _with_ranges(None, config, around.now_ms)
        for name, config in flag.environments.items()
    }
    return Draft(msgspec.structs.replace(flag, environments=configs), problems)


def replace(
    flag: Flag, document: FlagInput, members: Collection[str], around: Circumstances
) -> Draft:
    """Return the flag after a PUT whose body has these members.

    Raises:
        Invalid: a simple body that says nothing to serve; Conflict: `fallthrough_is_rollout`.
    """
    if not is_full(members):
        return _simple(flag, document, members, around)
    given = {} if document.environments is UNSET else document.environments
    whole = msgspec.structs.replace(document, environments={**flag.environments, **given})
    return _full(flag, whole, around)


def patched(
    flag: Flag, members: Collection[str], document: FlagInput, around: Circumstances
) -> Draft:
    """Return the flag after a merge patch with these members, which makes it this document.

    Raises:
        as `replace`.
    """
    if is_full(members):
        if document.environments is UNSET:  # `"environments": null` removes them all
            document = msgspec.structs.replace(document, environments={})
        return _full(flag, document, around)
    return _simple(flag, document, members, around)


def merge_config(
    old: EnvironmentConfig | None, new: EnvironmentConfig, new_salt: NewSalt, now_ms: int
) -> EnvironmentConfig:
    """Return a configuration completed from the one it replaces: salt, rule ids, ranges."""
    salt = new.salt
    if salt is UNSET:
        salt = new_salt() if old is None or old.salt is UNSET else old.salt
    rules = with_kept_ids([] if old is None else old.rules, new.rules)
    completed = msgspec.structs.replace(new, salt=salt, rules=rules)
    return _with_ranges(old, completed, now_ms)


def copied_config(source: EnvironmentConfig, new_salt: NewSalt) -> EnvironmentConfig:
    """Return what a new environment starts with: the same fallthrough, disabled, a new salt."""
    return EnvironmentConfig(
        fallthrough=source.fallthrough,
        salt=new_salt(),
        off_variant=source.off_variant,
        source=source.source,
    )


def _simple(
    flag: Flag, document: FlagInput, members: Collection[str], around: Circumstances
) -> Draft:
    asked = around.asked
    problems = _read_only(flag, document)
    given: dict[str, Any] = {name: getattr(document, name) for name in _PLAIN if name in members}
    if given.get("expires", UNSET) is None:
        given["expires"] = UNSET
    flag = msgspec.structs.replace(flag, **given)
    enabled, value = served(flag, asked)
    wanted = normalise_values(flag.type, {"": document.value})[""] if "value" in members else value
    on = document.enabled if "enabled" in members else enabled
    if wanted is UNSET or isinstance(on, UnsetType):
        removed = [
            Problem(pointer(member), ProblemCode.WRONG_TYPE, f"{member} cannot be removed")
            for member in ("value", "enabled")
            if member in members and getattr(document, member) is UNSET
        ]
        raise invalid([*problems, *removed])
    changed = not same_value(wanted, value)
    if not changed and on is enabled:
        return Draft(flag, problems)
    config = flag.environments.get(asked)
    if config is not None and not changed:
        enabled_so = msgspec.structs.replace(config, enabled=on)
        return Draft(_configured(flag, asked, enabled_so), problems)
    if config is not None and not isinstance(config.source, UnsetType):
        if problems:
            raise invalid(problems)
        raise Conflict(
            f"{asked!r} is decided by the definition that was imported from "
            f"{config.source.dialect}, not by one value; send enabled alone to switch it, import a "
            "changed definition, or send variants and environments without source, and ours decide",
            code="imported_targeting",
        )
    if config is not None and config.fallthrough.variant is UNSET:
        if problems:
            raise invalid(problems)
        what = "ramp" if config.fallthrough.rollout is UNSET else "rollout"
        raise Conflict(
            f"{asked!r} serves a {what}, which one value cannot replace; "
            "send variants and environments",
            code="fallthrough_is_rollout",
        )
    name = variant_of(flag.type, flag.variants, wanted)
    if name is None:
        name = _name_for(wanted, flag.variants)
        variants = {**_without_unused(flag, around.needed), name: wanted}
        flag = msgspec.structs.replace(flag, variants=variants)
    serve = Serve(variant=name)
    if config is None:
        off_variant = _usual_off_variant(flag)
        config = EnvironmentConfig(serve, salt=around.new_salt(), off_variant=off_variant)
    config = msgspec.structs.replace(config, fallthrough=serve, enabled=on)
    return Draft(_configured(flag, asked, config), problems)


def _configured(flag: Flag, environment: str, config: EnvironmentConfig) -> Flag:
    environments = {**flag.environments, environment: config}
    return msgspec.structs.replace(flag, environments=environments)


def _usual_off_variant(flag: Flag) -> str | UnsetType:
    """Return what a first configuration serves when disabled: as in production, if there."""
    production = flag.environments.get(_PRODUCTION)
    if production is not None:
        return production.off_variant
    return "off" if flag.type == "boolean" and "off" in flag.variants else UNSET


def _without_unused(flag: Flag, needed: Callable[[], Collection[str]]) -> dict[str, Any]:
    """Return the variants, without the oldest of those made for values that nothing serves now.

    A setting that is changed every hour would fill the flag up otherwise.
    """
    made = [name for name in flag.variants if _MADE.fullmatch(name)]
    if len(made) <= _MAX_UNUSED:
        return flag.variants
    used: set[str | UnsetType] = set(needed())
    for config in flag.environments.values():
        used.add(config.off_variant)
        used.update(target.variant for target in config.targets)
        for _, serve in serves_of(config):
            used |= _variants_of(serve)
    unused = [name for name in made if name not in used]
    dropped = set(unused[: max(0, len(unused) - _MAX_UNUSED)])
    return {name: value for name, value in flag.variants.items() if name not in dropped}


def _variants_of(serve: Serve) -> set[str | UnsetType]:
    if serve.rollout is not UNSET:
        return {arm.variant for arm in serve.rollout.arms}
    if serve.ramp is not UNSET:
        return {serve.ramp.variant, serve.ramp.else_}
    return {serve.variant}


def _full(flag: Flag, document: FlagInput, around: Circumstances) -> Draft:
    """Return the flag of a whole document: what it leaves out is left out."""
    environments, asked = around.environments, around.asked
    given = {} if document.environments is UNSET else document.environments
    variants = flag.variants if document.variants is UNSET else document.variants
    configs = {
        name: merge_config(flag.environments.get(name), config, around.new_salt, around.now_ms)
        for name, config in given.items()
    }
    replaced = Flag(
        key=flag.key,
        type=flag.type,
        variants=normalise_values(flag.type, variants),
        environments=configs,
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
    problems = [*_read_only(flag, document), *_unknown_environments(replaced, environments)]
    for name in {**flag.environments, **configs}:
        if name == asked or name not in environments:
            continue
        if not same_document(flag.environments.get(name), configs.get(name)):
            message = f"{name!r} changes, but the request is about {asked!r}"
            hint = f"leave it as it is, or send ?environment={name}"
            code = ProblemCode.OTHER_ENVIRONMENT_CHANGED
            problems.append(Problem(pointer("environments", name), code, message, hint))
    problems += disagreements(document, replaced, asked)
    problems += _removed_sources(flag, replaced)
    return Draft(replaced, problems)


def _removed_sources(old: Flag, new: Flag) -> list[Problem]:
    """Return a warning for each environment in which another system's definition is left out."""
    return [
        Problem(
            pointer("environments", name, "source"),
            ProblemCode.SOURCE_REMOVED,
            f"{before.source.dialect}'s definition is gone: what is written here decides",
            "send the source that a read gives to keep it",
            Severity.WARNING,
        )
        for name, config in new.environments.items()
        if (before := old.environments.get(name)) is not None
        and not isinstance(before.source, UnsetType)
        and isinstance(config.source, UnsetType)
    ]


def _with_ranges(
    old: EnvironmentConfig | None, new: EnvironmentConfig, now_ms: int
) -> EnvironmentConfig:
    before = {} if old is None else served_before(old, new)
    rules = [
        msgspec.structs.replace(
            rule, serve=keep_ranges(before.get(f"rules/{rule.id}"), rule.serve, now_ms)
        )
        for rule in new.rules
    ]
    fallthrough = keep_ranges(before.get("fallthrough"), new.fallthrough, now_ms)
    return msgspec.structs.replace(new, rules=rules, fallthrough=fallthrough)


def _read_only(flag: Flag, document: FlagInput) -> list[Problem]:
    """Return what a body says of the members that never change, where it says another thing."""
    problems = []
    for member, has in (("key", flag.key), ("type", flag.type)):
        given = getattr(document, member)
        if given is not UNSET and given != has:
            message = f"{member} is {has!r} and cannot become {given[:80]!r}"
            hint = "make another flag, and archive this one"
            problems.append(Problem(pointer(member), ProblemCode.READ_ONLY, message, hint))
    return problems


def _unknown_environments(flag: Flag, environments: Collection[str]) -> list[Problem]:
    known = f"known: {', '.join(sorted(environments)[:20])}"
    return [
        Problem(
            pointer("environments", name),
            ProblemCode.UNKNOWN_ENVIRONMENT,
            f"there is no environment {name[:80]!r}",
            known,
        )
        for name in flag.environments
        if name not in environments
    ]


def _name_for(value: Any, variants: Mapping[str, Any]) -> str:
    """Return the name of a variant made for a value: equal values, equal names, everywhere."""
    digits = hashlib.sha256(_canonical.encode(value)).hexdigest()
    length = 8
    while f"value-{digits[:length]}" in variants:
        length += 4  # another value has that name: some day, somewhere
    return f"value-{digits[:length]}"

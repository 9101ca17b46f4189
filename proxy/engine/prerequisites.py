"""What is wrong with flags that ask other flags: who is missing, circles, chains too long or wide.

Three questions, each asked where its answer is known: by itself (`check_prerequisites`, on both
sides), with all flags of a project (`check_chains`, before something is published) and with what
was compiled (`chain_problems`, at a sidecar). Part of `validate`.

A flag that is not there is a mistake of an author, and refused. At a sidecar it is no problem: the
prerequisite fails, and the flag that asks serves what it serves when off.
"""

from collections.abc import Iterable, Mapping

from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import EnvironmentConfig, Flag, Prerequisite
from proxy.contract.problems import Problem
from proxy.engine import limits
from proxy.engine.compiled import CompiledFlag
from proxy.engine.findings import Findings, Path
from proxy.engine.graph import cycle_through, dependency_order, users_of
from proxy.engine.nearness import meant
from proxy.engine.texts import check_count

__all__ = ["chain_problems", "check_chains", "check_prerequisites"]


def check_prerequisites(
    path: Path, key: str, prerequisites: list[Prerequisite], findings: Findings
) -> list[tuple[Path, str]]:
    """Report what is wrong with prerequisites by themselves; return the places of their flags."""
    named: list[tuple[Path, str]] = []
    taken: dict[str, int] = {}
    check_count(path, len(prerequisites), limits.MAX_PREREQUISITES, "prerequisites", findings)
    for index, wanted in enumerate(prerequisites):
        here = (*path, index)
        named.append(((*here, "flag"), wanted.flag))
        if wanted.flag == key:
            message = "a flag cannot be its own prerequisite"
            findings.add((*here, "flag"), ProblemCode.PREREQUISITE_CYCLE, message)
        elif (first := taken.setdefault(wanted.flag, index)) != index:
            message = f"prerequisite number {first + 1} asks the flag {wanted.flag!r} already"
            hint = "list all variants that will do there"
            findings.add((*here, "flag"), ProblemCode.DUPLICATE_PREREQUISITE, message, hint)
        if not wanted.variants:
            message = "no variant will do, so the flag would always be off"
            hint = "list the variants that will do"
            findings.add((*here, "variants"), ProblemCode.NO_VARIANTS, message, hint)
        check_count(
            (*here, "variants"), len(wanted.variants), limits.MAX_VARIANTS, "variants", findings
        )
    return named


def check_chains(
    flag: Flag, flags: Mapping[str, Flag], asking: Mapping[str, Flag], findings: Findings
) -> None:
    """Report what is wrong with a flag's prerequisites, and with those that others have in it.

    `flags` are those of its project, and `asking` those of them that have prerequisites, or more;
    what they hold under the flag's own key is not looked at.
    """
    for environment, config in flag.environments.items():
        path = ("environments", environment, "prerequisites")
        for index, wanted in enumerate(config.prerequisites):
            if wanted.flag != flag.key:
                _check_asked((*path, index), wanted, flags, findings)
        if config.prerequisites:
            _check_graph(path, environment, flag, asking, findings)
    _check_users(flag, asking, findings)


def chain_problems(asked: Iterable[tuple[str, CompiledFlag | None]]) -> list[Problem]:
    """Return what is wrong with a flag that asks these, as far as they were compiled."""
    found = [flag for _, flag in asked if flag is not None]
    count = sum(1 + flag.asked for flag in found)
    nesting = 1 + max((flag.nesting for flag in found), default=0)
    return [Problem("/prerequisites", code, message) for code, message in _beyond(nesting, count)]


def _beyond(nesting: int, count: int) -> list[tuple[ProblemCode, str]]:
    problems = []
    if nesting > limits.MAX_PREREQUISITE_NESTING:
        message = (
            f"{nesting} flags ask one another in a row, at most "
            f"{limits.MAX_PREREQUISITE_NESTING} are allowed"
        )
        problems.append((ProblemCode.TOO_DEEP, message))
    if count > limits.MAX_PREREQUISITES_IN_ALL:
        message = (
            f"{count} flags are asked with those that they ask, at most "
            f"{limits.MAX_PREREQUISITES_IN_ALL} are allowed"
        )
        problems.append((ProblemCode.TOO_MANY, message))
    return problems


def _check_asked(
    path: Path, wanted: Prerequisite, flags: Mapping[str, Flag], findings: Findings
) -> None:
    asked = flags.get(wanted.flag)
    if asked is None:
        message, hint = f"there is no flag {wanted.flag!r}", meant(wanted.flag, flags, findings)
        findings.add((*path, "flag"), ProblemCode.UNKNOWN_FLAG, message, hint)
        return
    if asked.archived:
        message = f"the flag {wanted.flag!r} is archived, so it answers nowhere"
        findings.add((*path, "flag"), ProblemCode.UNKNOWN_FLAG, message)
    for number, variant in enumerate(wanted.variants):
        if variant not in asked.variants:
            message = f"the flag {wanted.flag!r} has no variant {variant!r}"
            hint = f"it has {', '.join(list(asked.variants)[:10])}"
            where = (*path, "variants", number)
            findings.add(where, ProblemCode.UNKNOWN_VARIANT, message, hint)


def _check_graph(
    path: Path, environment: str, flag: Flag, flags: Mapping[str, Flag], findings: Findings
) -> None:
    """Report circles through the flag, and chains too long or wide through it."""
    edges = _edges(environment, {**_asking(flags, environment), flag.key: flag})
    cyclic = False
    for index, name in enumerate(edges[flag.key]):
        way = None if name == flag.key else cycle_through(edges, flag.key, name)
        if way is not None:
            cyclic = True
            message = f"the flag is a prerequisite of itself: {' -> '.join(way)}"
            findings.add((*path, index, "flag"), ProblemCode.PREREQUISITE_CYCLE, message)
    if cyclic:
        return
    concerned = {flag.key} | users_of(edges, flag.key)
    order, _ = dependency_order(_reached(edges, concerned))
    nesting: dict[str, int] = {}
    count: dict[str, int] = {}
    for key in order:
        inner = [name for name in dict.fromkeys(edges[key]) if name in nesting]
        nesting[key] = 1 + max((nesting[name] for name in inner), default=0) if edges[key] else 0
        count[key] = len(set(edges[key])) + sum(count[name] for name in inner)
        if key in concerned:
            for code, message in _beyond(nesting[key], count[key]):
                findings.add(path, code, message if key == flag.key else f"{key!r}: {message}")


def _check_users(flag: Flag, flags: Mapping[str, Flag], findings: Findings) -> None:
    """Report variants that other flags want of this one and that it does not have any more."""
    users: dict[str, set[str]] = {}
    for other in flags.values():
        if other.key == flag.key:
            continue
        for config in other.environments.values():
            for wanted in config.prerequisites:
                if wanted.flag == flag.key:
                    for variant in wanted.variants:
                        if variant not in flag.variants:
                            users.setdefault(variant, set()).add(other.key)
    for variant, keys in users.items():
        named = ", ".join(repr(key) for key in sorted(keys)[:10])
        message = f"the variant {variant!r} is a prerequisite of {named}"
        hint = "keep it, or change those flags first"
        findings.add(("variants",), ProblemCode.VARIANT_IN_USE, message, hint)


def _asking(flags: Mapping[str, Flag], environment: str) -> dict[str, Flag]:
    """Return the flags that have prerequisites in an environment; few have."""
    return {
        key: flag
        for key, flag in flags.items()
        if (config := flag.environments.get(environment)) is not None and config.prerequisites
    }


def _reached(edges: Mapping[str, list[str]], names: Iterable[str]) -> dict[str, list[str]]:
    """Return what some flags ask, also through others: few of a large project."""
    found: dict[str, list[str]] = {}
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in found:
            found[name] = edges[name]
            stack.extend(edges[name])
    return found


def _edges(environment: str, flags: Mapping[str, Flag]) -> dict[str, list[str]]:
    """Return which flags each asks, also those that ask none."""
    edges: dict[str, list[str]] = {}
    for key, flag in flags.items():
        config: EnvironmentConfig | None = flag.environments.get(environment)
        edges[key] = [] if config is None else [wanted.flag for wanted in config.prerequisites]
    for names in list(edges.values()):
        for name in names:
            edges.setdefault(name, [])
    return edges

"""One segment of LaunchDarkly as a condition.

In order: keys that are included are in, keys that are excluded are out, and who fulfils a rule is
in. A rule may take in a share of those who fulfil its clauses.

The members of a big segment (`unbounded`) are in a store outside of it, which there is not here:
only its rules count, as for LaunchDarkly's own clients without that store, and it is warned of.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem, has_errors
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.launchdarkly import contexts
from proxy.engine.dialects.launchdarkly.clauses import ClauseReader
from proxy.engine.dialects.launchdarkly.document import (
    Segment,
    SegmentRule,
    Target,
    kind_of,
    read,
    whole,
)
from proxy.engine.dialects.launchdarkly.flags import bits_of
from proxy.engine.dialects.launchdarkly.rollouts import Bits, share
from proxy.engine.findings import Findings, Path
from proxy.engine.operators import Leaf
from proxy.engine.texts import check_count

__all__ = ["segment", "segment_names"]


def segment(
    definition: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[p.Expression | None, list[Problem]]:
    """Return a segment as a condition, None where it cannot be said, and what is wrong with it.

    What is malformed within a flag only for those who come to it, is so here for everybody.
    """
    found, problems = read(definition, Segment)
    if found is None:
        return None, problems
    findings = Findings()
    reader = ClauseReader(findings)
    if not _is_within_bounds(found, reader, findings):
        return None, findings.problems
    expression = _expression(found, reader, bits_of(options), findings)
    return None if has_errors(findings.problems) else expression, findings.problems


def segment_names(definition: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the segments that a segment names."""
    found, _ = read(definition, Segment)
    rules = found.rules or () if found is not None else ()
    named = (
        value
        for rule in rules
        for clause in rule.clauses or ()
        if clause.op == "segmentMatch"
        for value in clause.values or ()
        if isinstance(value, str)
    )
    return tuple(dict.fromkeys(named))


def _is_within_bounds(found: Segment, reader: ClauseReader, findings: Findings) -> bool:
    lists = [*(found.included_contexts or ()), *(found.excluded_contexts or ())]
    units = sum(len(target.values or ()) for target in lists)
    units += len(found.included or ()) + len(found.excluded or ())
    rules = found.rules or []
    check_count((), units, limits.MAX_SEGMENT_UNITS, "keys", findings)
    check_count((), len(lists), limits.MAX_RULES, "lists of keys", findings)
    check_count(("rules",), len(rules), limits.MAX_RULES, "rules", findings)
    reader.within_bounds((rule.clauses for rule in rules), 0, ("rules",))
    return not has_errors(findings.problems)


def _expression(
    found: Segment, reader: ClauseReader, bits: Bits, findings: Findings
) -> p.Expression:
    prefix = f"{found.key or ''}.{found.salt or ''}.".encode()
    rules = p.any_of(
        [
            _rule(rule, reader, prefix, bits, findings, ("rules", index))
            for index, rule in enumerate(found.rules or ())
        ]
    )
    if found.unbounded:
        message = "a big segment: its members are kept elsewhere, and only its rules count here"
        hint = "add the members to a list, or compute the membership into an attribute"
        where = ("unbounded",)
        findings.add(where, ProblemCode.UNKNOWN_SEGMENT, message, hint, Severity.WARNING)
        if found.generation is None:
            return p.FALSE
        key = contexts.key(kind_of(found.unbounded_context_kind))
        return p.all_of([p.Probe(key, Leaf("{f} is not None"), source="is there"), rules])
    outside = list(_lists(found.excluded, found.excluded_contexts))
    inside = list(_lists(found.included, found.included_contexts))
    rules = p.all_of([*map(p.negation, outside), rules])
    return p.any_of([*inside, rules])


def _lists(keys: list[str] | None, others: list[Target] | None) -> Iterator[p.Expression]:
    for target in (Target(keys), *(others or ())):
        if target.values:
            key = contexts.key(kind_of(target.context_kind))
            leaf = Leaf("{f} in {0}", (frozenset(target.values),))
            yield p.Probe(key, leaf, source=target.values)


def _rule(
    rule: SegmentRule,
    reader: ClauseReader,
    prefix: bytes,
    bits: Bits,
    findings: Findings,
    path: Path,
) -> p.Expression:
    when, is_good = reader.conditions(rule.clauses, path)
    weight = 0 if rule.weight is None else whole(rule.weight)
    taken: p.Expression | None = p.TRUE
    if weight is None:
        findings.add((*path, "weight"), ProblemCode.WRONG_TYPE, "a weight is an integer")
    elif rule.weight is not None:
        taken = share(
            weight, rule.rollout_context_kind, rule.bucket_by, prefix, bits, findings, path
        )
    if not is_good or taken is None:
        message = "the segment cannot be evaluated, so flags that name it cannot either"
        findings.add(path, ProblemCode.WRONG_TYPE, message)
        return p.FALSE
    return p.all_of([when, taken])

"""The operators of a leaf: what each takes, and what it compiles to. The one place to list one.

An operator is an entry of `OPERATORS`; what it does is in the module of its family. The rules that
its leaves keep are in `proxy.engine.operators.model`.
"""

from proxy.engine.operators.lists import all_of, any_of, check_size, size
from proxy.engine.operators.model import (
    INSTANT,
    NO_VALUES,
    NUMBER,
    SCALARS,
    SIZE,
    TEXT,
    TEXTS,
    Fault,
    Leaf,
    Operator,
    Options,
    Values,
    options_of,
)
from proxy.engine.operators.networks import check_networks, in_networks
from proxy.engine.operators.numbers import compare
from proxy.engine.operators.patterns import check_patterns, match_patterns
from proxy.engine.operators.text import contains, ends_with, starts_with
from proxy.engine.operators.times import (
    after,
    before,
    check_instant,
    check_time_of_day,
    check_weekdays,
    span_after,
    span_before,
    time_of_day,
    weekday,
)
from proxy.engine.operators.values import equality, exists
from proxy.engine.operators.versions import (
    check_ranges,
    check_version,
    compare_versions,
    match_versions,
)

__all__ = ["OPERATORS", "Fault", "Leaf", "Operator", "Options", "Values", "options_of"]

_FOLD = frozenset(("fold",))
_ZONE = frozenset(("zone",))
_SPAN = frozenset(("from", "to"))


def _version(sign: str) -> Operator:
    return Operator(TEXT, compare_versions(sign), check=check_version)


OPERATORS: dict[str, Operator] = {
    "equals": Operator(SCALARS, equality, options=_FOLD),
    "not_equals": Operator(SCALARS, equality, negated=True, options=_FOLD),
    "in": Operator(SCALARS, equality, options=_FOLD),
    "not_in": Operator(SCALARS, equality, negated=True, options=_FOLD),
    "contains": Operator(TEXTS, contains, options=_FOLD),
    "starts_with": Operator(TEXTS, starts_with, options=_FOLD),
    "ends_with": Operator(TEXTS, ends_with, options=_FOLD),
    "matches": Operator(TEXTS, match_patterns, check=check_patterns),
    "exists": Operator(NO_VALUES, exists),
    "gt": Operator(NUMBER, compare(">")),
    "gte": Operator(NUMBER, compare(">=")),
    "lt": Operator(NUMBER, compare("<")),
    "lte": Operator(NUMBER, compare("<=")),
    "before": Operator(INSTANT, before, timed=True, check=check_instant, window=span_before),
    "after": Operator(INSTANT, after, timed=True, check=check_instant, window=span_after),
    "weekday": Operator(TEXTS, weekday, options=_ZONE, timed=True, check=check_weekdays),
    "time_of_day": Operator(
        NO_VALUES,
        time_of_day,
        options=_SPAN | _ZONE,
        needs=_SPAN,
        timed=True,
        check=check_time_of_day,
    ),
    "semver_eq": _version("=="),
    "semver_gt": _version(">"),
    "semver_gte": _version(">="),
    "semver_lt": _version("<"),
    "semver_lte": _version("<="),
    "semver_match": Operator(TEXTS, match_versions, check=check_ranges),
    "in_cidr": Operator(TEXTS, in_networks, check=check_networks),
    "any_of": Operator(SCALARS, any_of, options=_FOLD),
    "all_of": Operator(SCALARS, all_of, options=_FOLD),
    "none_of": Operator(SCALARS, any_of, negated=True, options=_FOLD),
    "size_gt": Operator(SIZE, size(">"), check=check_size),
    "size_lt": Operator(SIZE, size("<"), check=check_size),
}
"""Every operator by its name in a definition."""

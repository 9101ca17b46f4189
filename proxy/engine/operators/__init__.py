"""The operators of a leaf: what each takes, and what it compiles to. The one place to list one.

An operator is an entry of `OPERATORS`; what it does is in the module of its family. The rules that
its leaves keep are in `proxy.engine.operators.model`.
"""

from proxy.engine.operators.lists import all_of, any_of, size
from proxy.engine.operators.model import (
    NO_VALUES,
    NUMBER,
    SCALARS,
    SIZE,
    TEXTS,
    Leaf,
    Operator,
    Values,
)
from proxy.engine.operators.numbers import compare
from proxy.engine.operators.text import contains, ends_with, starts_with
from proxy.engine.operators.values import equality, exists

__all__ = ["OPERATORS", "Leaf", "Operator", "Values"]

OPERATORS: dict[str, Operator] = {
    "equals": Operator(SCALARS, equality, folds=True),
    "not_equals": Operator(SCALARS, equality, negated=True, folds=True),
    "in": Operator(SCALARS, equality, folds=True),
    "not_in": Operator(SCALARS, equality, negated=True, folds=True),
    "contains": Operator(TEXTS, contains, folds=True),
    "starts_with": Operator(TEXTS, starts_with, folds=True),
    "ends_with": Operator(TEXTS, ends_with, folds=True),
    "exists": Operator(NO_VALUES, exists),
    "gt": Operator(NUMBER, compare(">")),
    "gte": Operator(NUMBER, compare(">=")),
    "lt": Operator(NUMBER, compare("<")),
    "lte": Operator(NUMBER, compare("<=")),
    "any_of": Operator(SCALARS, any_of, folds=True),
    "all_of": Operator(SCALARS, all_of, folds=True),
    "none_of": Operator(SCALARS, any_of, negated=True, folds=True),
    "size_gt": Operator(SIZE, size(">")),
    "size_lt": Operator(SIZE, size("<")),
}
"""Every operator by its name in a definition."""

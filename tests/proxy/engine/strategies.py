"""Random definitions and contexts that meet each other often: few names, few values, all types."""

from typing import Any

from hypothesis import strategies as st

__all__ = ["any_json", "arms", "conditions", "contexts", "definitions", "flags", "segments"]

ATTRIBUTES = ["country", "plan", "n", "flag", "tags", "a.b", "a.c[1]", "list[0]", "deep.x.y", "[0]"]
UNIT_ATTRIBUTES = ["targetingKey", "targetingKey", "account", "a.b", "n"]
TEXTS = ["", "DE", "de", "pro", "u-1", "u-2", "ä", "Ä", "ẞ", "ss", "1", "true", "x.y", "日本"]
NUMBERS: list[Any] = [0, 1, -1, 2, 0.0, 1.0, -0.0, 0.5, 2.0, 10, 1e300, 2**53, 10**18]
SCALARS: list[Any] = [*TEXTS, *NUMBERS, True, False]
OPERATORS = [
    *("equals", "not_equals", "in", "not_in", "contains", "starts_with", "ends_with", "exists"),
    *("gt", "gte", "lt", "lte", "any_of", "all_of", "none_of", "size_gt", "size_lt"),
]
SEGMENTS = ["s0", "s1", "s2"]
VARIANTS = ["on", "off", "third", "größe"]

texts = st.sampled_from(TEXTS)
scalars = st.sampled_from(SCALARS)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_values = scalars | st.none() | st.lists(scalars | st.none() | st.just([]), max_size=4) | any_json
_nested = st.fixed_dictionaries(
    {}, optional={"b": _values, "c": st.lists(_values, max_size=3), "x": _values, "y": _values}
)


@st.composite
def contexts(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a context: JSON, of any types at any place."""
    optional = dict.fromkeys([*ATTRIBUTES, "account"], _values)
    optional["a"] = optional["deep"] = _nested | _values
    optional["list"] = st.lists(_values, max_size=3) | _values
    optional["targetingKey"] = texts | texts | _values
    context = draw(st.fixed_dictionaries({}, optional=optional))
    return {**context, **draw(st.just({}) | st.dictionaries(st.text(), any_json, max_size=2))}


@st.composite
def _leaves(draw: st.DrawFn) -> dict[str, Any]:
    op = draw(st.sampled_from(OPERATORS))
    if op in {"gt", "gte", "lt", "lte"}:
        values = [draw(st.sampled_from(NUMBERS))]
    elif op in {"size_gt", "size_lt"}:
        values = [draw(st.integers(0, 3))]
    elif op == "exists":
        values = []
    else:
        of = texts if op in {"contains", "starts_with", "ends_with"} else scalars
        values = draw(st.lists(of, min_size=1, max_size=4))
    leaf: dict[str, Any] = {"attribute": draw(st.sampled_from(ATTRIBUTES)), "op": op}
    if values or draw(st.booleans()):
        leaf["values"] = values
    if draw(st.integers(0, 3)) == 0:
        leaf["negate"] = draw(st.booleans())
    folds = op not in {"gt", "gte", "lt", "lte", "size_gt", "size_lt", "exists"}
    if folds and draw(st.integers(0, 3)) == 0:
        leaf["fold"] = draw(st.booleans())
    return leaf


def conditions(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw condition trees that may name some segments."""
    leaves = _leaves()
    if names:
        leaves |= st.sampled_from(names).map(lambda name: {"segment": name})
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4).map(lambda items: {"all": items}),
            st.lists(inner, max_size=4).map(lambda items: {"any": items}),
            inner.map(lambda item: {"not": item}),
        ),
        max_leaves=10,
    )


@st.composite
def segments(draw: st.DrawFn) -> dict[str, Any]:
    """Draw definitions of the segments that flags may name; later ones name earlier ones."""
    made: dict[str, Any] = {}
    for index, name in enumerate(SEGMENTS):
        included = draw(st.lists(st.sampled_from(["u-1", "ä", "1"]), unique=True, max_size=2))
        excluded = draw(st.lists(st.sampled_from(["u-2", "Ä"]), unique=True, max_size=1))
        when = draw(conditions(SEGMENTS[:index]))
        made[name] = {"when": when, "included": included, "excluded": excluded}
    return made


@st.composite
def arms(draw: st.DrawFn, variants: list[str] | None = None) -> list[dict[str, Any]]:
    """Draw arms whose weights sum to 100,000, each variant once."""
    names = draw(st.permutations(variants or VARIANTS))
    names = names[: draw(st.integers(1, len(names)))]
    cuts = sorted(draw(st.integers(0, 100_000)) for _ in names[1:])
    bounds = zip([0, *cuts], [*cuts, 100_000], strict=True)
    return [
        {"variant": name, "weight": high - low}
        for name, (low, high) in zip(names, bounds, strict=True)
    ]


@st.composite
def _ranged_arms(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw arms whose buckets are scattered over many ranges."""
    cuts = sorted(draw(st.sets(st.integers(1, 99_999), max_size=8)))
    pieces = zip([0, *cuts], [*cuts, 100_000], strict=True)
    held: dict[str, list[list[int]]] = {}
    for low, high in pieces:
        held.setdefault(draw(st.sampled_from(VARIANTS)), []).append([low, high])
    return [
        {"variant": name, "weight": sum(high - low for low, high in ranges), "ranges": ranges}
        for name, ranges in held.items()
    ]


@st.composite
def _serves(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"variant": draw(st.sampled_from(VARIANTS))}
    rollout: dict[str, Any] = {"arms": draw(arms() | _ranged_arms())}
    by = draw(st.sampled_from(UNIT_ATTRIBUTES))
    if by != "targetingKey" or draw(st.booleans()):
        rollout["by"] = by
    return {"rollout": rollout}


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a flag as a sidecar is sent it, valid, as JSON."""
    definition: dict[str, Any] = {
        "type": "string",
        "variants": {name: f"value of {name}" for name in VARIANTS},
        "salt": draw(st.sampled_from(["f3b1", "s", "a/b"])),
        "enabled": draw(st.integers(0, 9)) > 0,
        "fallthrough": draw(_serves()),
    }
    if draw(st.booleans()):
        definition["off_variant"] = draw(st.sampled_from(VARIANTS))
    if draw(st.integers(0, 2)) == 0:
        units = draw(st.lists(texts.filter(bool), unique=True, max_size=4))
        definition["targets"] = [
            {"variant": "on", "units": units[:2]},
            {"variant": "third", "units": units[2:]},
        ]
    if draw(st.booleans()):
        definition["metadata"] = {"team": "a", "level": 3, "live": True}
    rules = draw(st.lists(st.tuples(conditions(SEGMENTS), _serves(), st.booleans()), max_size=5))
    definition["rules"] = [
        {"when": when, "serve": serve, **({"id": f"rule-{i}"} if named else {})}
        for i, (when, serve, named) in enumerate(rules)
    ]
    return definition


flags = definitions()

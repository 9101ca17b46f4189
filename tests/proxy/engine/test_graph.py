"""Order and cycles among things that name each other."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine.graph import (
    circling,
    cycle_through,
    dependency_order,
    on_cycles,
    ordering,
    users_of,
)

graphs = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefx"), max_size=3)
)


@settings(deadline=None)
@given(graphs)
def test_everything_comes_after_what_it_names(edges: dict[str, list[str]]) -> None:
    """Or has no place: it is on a cycle, or names something that is."""
    order, cyclic = dependency_order(edges)
    assert sorted([*order, *cyclic]) == sorted(edges)
    for position, name in enumerate(order):
        assert {n for n in edges[name] if n in edges} <= set(order[:position])
    for name in cyclic:
        assert set(edges[name]) & set(cyclic)


@settings(deadline=None)
@given(graphs)
def test_a_cycle_is_found_where_there_is_one(edges: dict[str, list[str]]) -> None:
    """And it is one: each names the next, from a thing back to itself."""
    _, cyclic = dependency_order(edges)
    for start, named in edges.items():
        for first in named:
            way = cycle_through(edges, start, first)
            if way is None:
                assert start not in cyclic or start not in users_of(edges, start) or first != start
            else:
                assert way[0] == way[-1] == start
                assert way[1] == first
                assert all(b in edges[a] for a, b in pairwise(way))
                assert start in cyclic


def test_a_way_back_is_told_in_order() -> None:
    """For the message."""
    edges = {"a": ["b"], "b": ["x", "c"], "c": ["a"]}
    assert cycle_through(edges, "a", "b") == ["a", "b", "c", "a"]
    assert cycle_through({"a": ["a"]}, "a", "a") == ["a", "a"]


def test_a_chain_of_ten_thousand_is_no_trouble() -> None:
    """No recursion."""
    edges = {str(i): [str(i + 1)] for i in range(10_000)}
    order, cyclic = dependency_order(edges)
    assert order[0] == "9999"
    assert not cyclic
    assert len(users_of(edges, "9999")) == 9_999


def test_users_are_found_through_others() -> None:
    """Not only those that name it themselves."""
    assert users_of({"a": ["b"], "b": ["c"], "d": []}, "c") == {"a", "b"}


@settings(deadline=None)
@given(graphs)
def test_what_is_on_a_cycle_is_told_from_what_leads_to_one(edges: dict[str, list[str]]) -> None:
    """A name is on one where it is among its own users."""
    assert on_cycles(edges) == {name for name in edges if name in users_of(edges, name)}


def test_what_lies_between_two_cycles_is_on_neither() -> None:
    """It names one, and is named by the other."""
    edges = {"a": ["b"], "b": ["a", "between"], "between": ["c"], "c": ["d"], "d": ["c"]}
    assert on_cycles(edges) == {"a", "b", "c", "d"}


def test_a_cycle_of_ten_thousand_is_no_trouble() -> None:
    """No recursion."""
    edges = {str(i): [str((i + 1) % 10_000)] for i in range(10_000)}
    assert len(on_cycles(edges)) == 10_000


def test_large_graphs_are_gone_through_in_steps() -> None:
    """No more than a few hundred names in each, so that an event loop can breathe in between."""
    circle = {str(i): [str((i + 1) % 10_000), str((i + 7) % 10_000)] for i in range(10_000)}
    assert sum(1 for _ in ordering(circle)) >= 2 * 10_000 / 200
    assert sum(1 for _ in circling(circle)) >= 6 * 10_000 / 200
    row = {str(i): [str(i + 1)] for i in range(10_000)}
    assert sum(1 for _ in ordering(row)) >= 3 * 10_000 / 200

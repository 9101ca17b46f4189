"""Which flags have what: always what going through all of them would find."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.publishing.facets import FacetIndex, facets_of
from proxy.contract.definitions import Flag
from tests.support.definitions import flag

flags = st.builds(
    lambda key, tags, archived: flag(key, tags=sorted(tags), archived=archived),
    st.sampled_from("abcde"),
    st.sets(st.sampled_from("xyz")),
    st.booleans(),
)


@given(
    st.lists(flags | st.sampled_from("abcde"), max_size=30),
    st.sets(st.sampled_from("xyzw"), min_size=1),
    st.none() | st.booleans(),
)
def test_the_index_finds_what_a_search_finds(
    steps: list[Flag | str], tags: set[str], archived: bool | None
) -> None:
    """After flags came, changed and went, in order, for any mix of facets."""
    index = FacetIndex()
    held: dict[str, Flag] = {}
    for step in steps:
        if isinstance(step, Flag):
            held[step.key] = step
            index.put(step)
        else:
            held.pop(step, None)
            index.remove(step)
    wanted = facets_of(tags=tags, archived=archived)
    keys, others = index.with_all(wanted) or ((), frozenset())
    found = [key for key in keys if index.has_all(key, others)]
    assert found == sorted(
        key
        for key, each in held.items()
        if tags <= set(each.tags) and (archived is None or each.archived is archived)
    )


def test_the_rarest_facet_is_looked_through() -> None:
    """One flag among thousands is found without going through them."""
    index = FacetIndex()
    for number in range(100):
        index.put(flag(f"f-{number:03d}", tags=["rare"] if number == 50 else []))
    assert index.with_all(facets_of(tags=["rare"], archived=False)) == (
        ["f-050"],
        facets_of(archived=False),
    )
    assert index.with_all(facets_of(tags=["none"])) == ((), frozenset())
    assert index.with_all(frozenset()) is None

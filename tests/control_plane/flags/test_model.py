"""What a read says a flag serves."""

import pytest

from control_plane.flags.model import FlagFilter, served
from proxy.contract.definitions import Arm, EnvironmentConfig, Flag, Rollout, Serve


def splitting(*weights: int) -> Flag:
    """Return a flag that splits over v0, v1, ..."""
    arms = [Arm(f"v{n}", weight) for n, weight in enumerate(weights)]
    config = EnvironmentConfig(Serve(rollout=Rollout(arms)), enabled=True)
    return Flag("f", "string", {"v0": "a", "v1": "b", "v2": "c"}, {"production": config})


@pytest.mark.parametrize(
    ("weights", "value"),
    [((1, 2, 3), "c"), ((50, 50), "a"), ((0, 100), "b"), ((), None)],
)
def test_a_rollout_shows_its_heaviest_arm(weights: tuple[int, ...], value: str | None) -> None:
    """The first of equals; of none, none."""
    assert served(splitting(*weights), "production") == (True, value)


def test_where_it_is_not_configured_a_flag_is_disabled() -> None:
    """With the value that a first configuration would serve."""
    assert served(splitting(1, 2), "staging") == (False, "a")


def test_a_filter_that_asks_for_nothing_has_no_facets() -> None:
    """And one that asks has one for each thing it asks for."""
    assert FlagFilter(prefix="x").facets() == frozenset()
    asking = FlagFilter(tags=frozenset("ab"), type="string", archived=False)
    assert len(asking.facets()) == 4

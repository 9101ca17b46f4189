"""Names that become parts of keys, paths and labels."""

import pytest

from control_plane.environments.model import check_name


@pytest.mark.parametrize("key", ["a", "_", "A-1.b_c", "x" * 64, "0"])
def test_a_plain_name_is_fine(key: str) -> None:
    """Letters, digits, dot, dash, underscore."""
    assert check_name(key) == []


@pytest.mark.parametrize("key", ["", "-a", ".a", "a/b", "a{b}", "a:b", "a b", "a\n", "ä", "x" * 65])
def test_another_name_is_a_problem_that_says_what_is_allowed(key: str) -> None:
    """Whatever would mean something to Redis, to a URL or to a label."""
    (problem,) = check_name(key)
    assert problem.pointer == "/key"
    assert "1 to 64" in problem.hint

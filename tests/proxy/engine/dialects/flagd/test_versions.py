"""`sem_ver`: what is a version, how two compare, and what is null."""

from typing import Any

import pytest

from proxy.engine.dialects.flagd.versions import compare

ASCENDING = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2"]
ASCENDING += ["1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]


def test_versions_are_in_the_order_of_the_specification() -> None:
    """Numbers by size, pre-releases before what they come before."""
    for index, one in enumerate(ASCENDING):
        for place, other in enumerate(ASCENDING):
            assert compare([one, "<", other]) is (index < place)
            assert compare([one, "<=", other]) is (index <= place)
            assert compare([one, ">", other]) is (index > place)
            assert compare([one, ">=", other]) is (index >= place)
            assert compare([one, "=", other]) is (index == place)
            assert compare([one, "!=", other]) is (index != place)


LOOSE: list[tuple[Any, str]] = [("1", "1.0.0"), ("v1.2", "1.2.0"), ("V1.2.3", "v1.2.3")]
LOOSE += [("1.2.3+b", "1.2.3"), (1, "1.0.0"), (1.2, "1.2"), (1.0, "1")]
LOOSE += [("1.2.3-rc.1+b.2", "1.2.3-rc.1")]


@pytest.mark.parametrize(("one", "other"), LOOSE)
def test_versions_may_be_written_loosely(one: Any, other: Any) -> None:
    """A letter in front, numbers left out, a number itself; build metadata does not matter."""
    assert compare([one, "=", other]) is True


NONE: list[Any] = ["", "v", "1.2.3.4", "01.2.3", "1.2.03", "1.2.3-", "1.2.3-01", "1.2.3-a..b"]
NONE += ["1.2.3+", "x", "1.2-rc", "vv1", " 1", "1 ", "-1", "1.2.3-\u0661", "\u0661.2.3", "\ud800"]
NONE += [True, None, [], {}, 1e21, float("nan"), 10**400, "9" * 300]


@pytest.mark.parametrize("value", NONE, ids=lambda value: ascii(value)[:20])
def test_what_is_no_version_is_null(value: Any) -> None:
    """On either side, which is not the same as false."""
    assert compare([value, "!=", "1.0.0"]) is None
    assert compare(["1.0.0", "!=", value]) is None


def test_ranges_are_of_the_same_major_or_minor() -> None:
    """Also below the version that they name."""
    assert compare(["1.0.0", "^", "1.5.0"]) is True
    assert compare(["2.0.0-rc.1", "^", "2"]) is True
    assert compare(["2.0.0", "^", "1.5.0"]) is False
    assert compare(["1.5.9", "~", "1.5.0"]) is True
    assert compare(["1.6.0", "~", "1.5.0"]) is False


@pytest.mark.parametrize("sign", ["==", "", "~>", None, 1, ["="]])
def test_an_unknown_sign_is_null(sign: Any) -> None:
    """And so is another number of arguments."""
    assert compare(["1.0.0", sign, "1.0.0"]) is None
    assert compare(["1.0.0", "="]) is None
    assert compare(["1.0.0", "=", "1.0.0", 1]) is None

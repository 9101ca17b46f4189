"""`fractional`: units are divided exactly as flagd's own formulas divide them.

The formulas are here once more, with their floats and a hash that is not the engine's.
"""

from random import Random
from typing import Any

import pytest

from proxy.engine import program as p
from proxy.engine.dialects.flagd.fractional import divided, weight_of
from tests.proxy.engine.dialects.flagd.flags import flag
from tests.vectors.murmur3 import murmur3_x86_32

VERSIONS = ["v1", "v2", "v3"]
VAR = {"var": "unit"}

FALLS_OFF = "6LvT0"
"""Its hash is 2**31, whose share is above 100 % in version 1."""


def text_as_cbor(value: str) -> bytes:
    """Return a text of fewer than 24 bytes."""
    written = value.encode()
    assert len(written) < 24
    return bytes((0x60 + len(written),)) + written


def formula(key: bytes, weights: list[int], version: str) -> int | None:
    """Return the number of the arm that a key gets."""
    h = murmur3_x86_32(key)
    total = sum(weights)
    if version == "v1":
        bucket = abs(float(h - 2**32 if h >= 2**31 else h)) / 2147483647 * 100
        share = 0.0
        for index, weight in enumerate(weights):
            share += 100 * weight / total
            if bucket < share:
                return index
        return None
    found, end = h * total >> 32, 0
    for index, weight in enumerate(weights):
        end += weight
        if found < end:
            return index
    return None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "weights", [[75, 25], [1, 0, 2], [3, 3, 3], [0, 1], [2**31 - 3, 1, 1], [33, 33, 34]], ids=str
)
@pytest.mark.parametrize("explicit", [False, True])
def test_constant_weights_divide_as_the_formula(
    version: str, weights: list[int], explicit: bool
) -> None:
    """By one hash and a look-up, with a key of its own or without."""
    arms = [[name, weight] for name, weight in zip("abc", weights, strict=False)]
    made = flag({"fractional": [VAR, *arms] if explicit else arms}, version=version)
    program = made.translation.program
    assert isinstance(program, p.Program)
    assert isinstance(program.otherwise, p.Split)
    draw = Random(3)
    seen = set()
    for unit in ["", FALLS_OFF, *(f"user-{draw.random():.12f}" for _ in range(1_500))]:
        if explicit:
            key = text_as_cbor(unit) if version == "v3" else unit.encode()
            found = made.said({"unit": unit})
        else:
            in_cbor = b"\x82" + text_as_cbor("checkout") + text_as_cbor(unit)
            key = in_cbor if version == "v3" else b"checkout" + unit.encode()
            found = made.said({"targetingKey": unit})
        index = formula(key, weights, version)
        if not unit and not explicit:
            index = None
        assert found == ("c" if index is None else "abc"[index])
        seen.add(found)
    assert len(seen) >= sum(weight > 100 or sum(weights) < 200 for weight in weights if weight)


def test_version_1_has_keys_that_get_nothing() -> None:
    """The share of some is above 100 %, and the default variant is served."""
    arms = {"fractional": [VAR, ["a", 50], ["b", 50]]}
    assert flag(arms, version="v1").said({"unit": FALLS_OFF}) == "c"
    assert flag(arms, version="v2").said({"unit": FALLS_OFF}) == "b"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_computed_weight_divides_as_a_constant_one(version: str) -> None:
    """Whatever is computed at an evaluation and whatever before, the answer is the same."""
    constant = flag({"fractional": [VAR, ["a", 30], ["b", 70]]}, version=version)
    computed = flag({"fractional": [VAR, ["a", {"var": "w"}], ["b", 70]]}, version=version)
    named = flag({"fractional": [VAR, [{"var": "n"}, 30], ["b", 70]]}, version=version)
    chosen = flag(
        {"fractional": [VAR, [{"if": [{"var": "n"}, "a"]}, 30], ["b", 70]]}, version=version
    )
    inside = flag(
        {"if": [{"==": [{"fractional": [VAR, ["a", 30], ["b", 70]]}, "a"]}, "a", "b"]},
        version=version,
    )
    for made in (computed, named, chosen):
        assert isinstance(made.translation.program, p.Program)
        assert isinstance(made.translation.program.otherwise, p.Computed)
    for number in range(400):
        context = {"unit": f"u-{number}", "w": 30, "n": "a"}
        wanted = constant.said(context)
        for made in (computed, named, chosen):
            assert made.said(context) == wanted
        if wanted != "c":
            assert inside.said(context) == wanted


@pytest.mark.parametrize(
    ("arms", "why"),
    [
        ([["a", 0], ["b", 0]], "no weight at all"),
        ([["a", 1.5], ["b", 1]], "no whole number"),
        ([["a", "1"], ["b", 1]], "no number"),
        ([["a", True], ["b", 1]], "no number"),
        ([["a", 2**31 - 1], ["b", 1]], "too much in all"),
        ([["a", 2**31]], "too much"),
        ([["a", 1], "b"], "no list"),
        ([["a", 1], []], "nothing in it"),
        ([[["a"], 1], ["b", 1]], "a list for a name"),
        ([[{"x": 1, "y": 2}, 1], ["b", 1]], "an object for a name"),
    ],
    ids=str,
)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_wrong_comes_to_the_default(arms: list[Any], why: str, version: str) -> None:
    """Null, however many arms are good."""
    assert why
    for key in ([], [VAR]):
        made = flag({"fractional": [*key, *arms]}, version=version)
        answer = made.answer({"targetingKey": "u-1", "unit": "u-1"})
        assert (answer.variant, answer.reason) == ("c", "DEFAULT")


@pytest.mark.parametrize("version", VERSIONS)
def test_weights_may_be_left_out_null_or_negative(version: str) -> None:
    """1, 1 and nothing."""
    made = flag(
        {"fractional": [VAR, ["a"], ["b", None], ["true", -5], ["c", 1.0]]}, version=version
    )
    wanted = flag({"fractional": [VAR, ["a", 1], ["b", 1], ["c", 1]]}, version=version)
    for number in range(300):
        assert made.said({"unit": f"{number}"}) == wanted.said({"unit": f"{number}"})


@pytest.mark.parametrize("value", [-1, -(2**40), -1.0, -(2**63)])
def test_a_weight_below_zero_is_none(value: Any) -> None:
    """However far below, while 64 bits hold it."""
    assert weight_of(value) == 0


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**400, -1e300, -0.5, "1", [1], False]
)
def test_what_is_no_weight(value: Any) -> None:
    """Fractions, texts, and more than 2**31 - 1."""
    assert weight_of(value) is None


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("unit", [1, 1.5, True, {"a": 1}])
def test_a_key_that_is_no_text_comes_to_the_default(version: str, unit: Any) -> None:
    """flagd takes it for an arm, and so everything for wrong; not so in version 3."""
    arms = [["a", 1], ["b", 1]]
    context = {"unit": unit, "targetingKey": "u-1"}
    assert flag({"fractional": [VAR, *arms]}, version=version).said(context) == "c"
    assert flag({"fractional": [VAR, *arms]}, version="v3").said(context) in ("a", "b")


def test_a_key_of_nothing_is_that_of_the_flag_up_to_version_2() -> None:
    """In version 3 it is the default."""
    arms = [["a", 1], ["b", 1]]
    for number in range(100):
        context = {"targetingKey": f"u-{number}"}
        for version in ("v1", "v2"):
            own = flag({"fractional": arms}, version=version).said(context)
            assert flag({"fractional": [VAR, *arms]}, version=version).said(context) == own
            assert flag({"fractional": [None, *arms]}, version=version).said(context) == own
        assert flag({"fractional": [VAR, *arms]}, version="v3").said(context) == "c"
        assert flag({"fractional": [None, *arms]}, version="v3").said(context) == "c"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_that_is_a_list_is_an_arm(version: str) -> None:
    """For flagd, by accident; it is so here, too."""
    made = flag({"fractional": [VAR, ["a", 1]]}, version=version)
    wanted = flag({"fractional": [["b", 3], ["a", 1]]}, version=version)
    for number in range(50):
        unit = {"targetingKey": f"u-{number}"}
        assert made.said({"unit": ["b", 3], **unit}) == wanted.said(unit)
    assert made.said({"unit": ["b", 3]}) == "c"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_constant_key_is_one_unit_for_all(version: str) -> None:
    """So that the split is an answer."""
    made = flag({"fractional": ["seed", ["a", 1], ["b", 1]]}, version=version)
    program = made.translation.program
    assert isinstance(program, p.Program)
    assert isinstance(program.otherwise, p.Outcome)
    read = flag({"fractional": [VAR, ["a", 1], ["b", 1]]}, version=version)
    assert made.said({}) == read.said({"unit": "seed"})


@pytest.mark.parametrize("targeting_key", [None, 5, True, [], {}])
@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_targeting_key_there_is_no_share(targeting_key: Any, version: str) -> None:
    """It is a text, or missing."""
    made = flag({"fractional": [["a", 1]]}, version=version)
    assert made.said({"targetingKey": targeting_key}) == "c"
    assert made.said({}) == "c"


def test_who_held_the_unit_is_said() -> None:
    """For exposures: the one attribute that the key is made of, or else the targeting key."""
    arms = [["a", 1], ["b", 1]]
    user = {"cat": [{"var": "$flagd.flagKey"}, {"var": "user.name"}]}
    context = {"user": {"name": "x"}, "targetingKey": "t"}
    assert flag({"fractional": [user, *arms]}).answer(context).unit_attribute == "user.name"
    assert flag({"fractional": arms}).answer(context).unit_attribute == "targetingKey"


def test_arguments_that_are_not_there() -> None:
    """Null, whatever the context."""
    assert divided([], "checkout", "u", 2) is None
    assert divided(["key"], "checkout", "u", 2) is None
    assert flag({"fractional": []}).said({"targetingKey": "u"}) == "c"
    assert flag({"fractional": "key"}).said({"targetingKey": "u"}) == "c"


def test_within_a_list_there_is_no_flag() -> None:
    """The data there is an item, which may have a targeting key of its own."""
    node = {"map": [{"var": "l"}, {"fractional": [["a", 1]]}]}
    made = flag({"if": [{"in": ["a", node]}, "a", "b"]})
    assert made.said({"l": [{"targetingKey": "u"}], "targetingKey": "u"}) == "a"
    assert made.said({"l": ["u", 1], "targetingKey": "u"}) == "b"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_that_is_a_list_is_an_arm_where_the_others_have_no_weight(version: str) -> None:
    """So nobody has a variant but who brings one."""
    made = flag({"fractional": [VAR, ["a", 0], ["b", 0]]}, version=version)
    assert made.said({"targetingKey": "u-1", "unit": ["b", 1]}) == "b"
    assert made.said({"targetingKey": "u-1", "unit": "b"}) == "c"
    assert made.said({"targetingKey": "u-1"}) == "c"

"""What is put out of the way, and what stays."""

from typing import Any

import pytest

from control_plane.web.salvage import Kind, salvage
from control_plane.web.shapes import shape_problems
from proxy.contract.authoring import FlagInput
from proxy.contract.definitions import Segment
from tests.control_plane.validation.builders import full

AT = "/environments/production"
TRUE: dict[str, Any] = {"all": []}


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        ({"enabled": 1}, [f"{AT}/enabled"]),
        ({"enabeld": 1}, []),
        ({"fallthrough": {"variant": 1}}, [f"{AT}/fallthrough"]),
        ({"rules": 1}, [f"{AT}/rules"]),
        ({"rules": [1]}, [f"{AT}/rules/0"]),
        ({"rules": [{"serve": {"variant": "on"}}]}, [f"{AT}/rules/0/when"]),
        ({"rules": [{"when": TRUE}]}, [f"{AT}/rules/0/serve"]),
        ({"rules": [{"when": {"all": 1}, "serve": {"variant": "on"}}]}, [f"{AT}/rules/0/when"]),
        (
            {"rules": [{"when": {"all": [TRUE, {"not": 1}]}, "serve": {"variant": "on"}}]},
            [f"{AT}/rules/0/when/all/1/not"],
        ),
        (
            {"targets": [{"variant": 1, "units": ["a", 5, 6]}, 7]},
            [
                f"{AT}/targets/0/variant",
                f"{AT}/targets/0/units/1",
                f"{AT}/targets/0/units/2",
                f"{AT}/targets/1",
            ],
        ),
        ({"targets": [{"variant": "on", "units": 5}]}, [f"{AT}/targets/0/units"]),
        ({"targets": [{"units": []}]}, [f"{AT}/targets/0/variant"]),
        (
            {"prerequisites": [{"flag": "a", "variants": [1]}, {"flag": 1, "variants": []}]},
            [f"{AT}/prerequisites/0/variants/0", f"{AT}/prerequisites/1"],
        ),
        (
            {"rules": [{"when": {"op": "in", "x": 1}, "serve": {"variant": "on"}}]},
            [f"{AT}/rules/0/when"],
        ),
    ],
)
def test_the_smallest_part_goes(config: dict[str, Any], changed: list[str]) -> None:
    """And what is left has the shape of a flag."""
    flag = full(**config)
    assert salvage(flag, "flag", shape_problems(flag, FlagInput)) == changed
    assert shape_problems(flag, FlagInput) == []


@pytest.mark.parametrize(
    ("document", "kind", "type_"),
    [
        ({"key": 1}, "segment", Segment),
        ([], "segment", Segment),
        (full() | {"type": "bool"}, "flag", FlagInput),
        (full() | {"variants": 1}, "flag", FlagInput),
        (full() | {"environments": 1}, "flag", FlagInput),
    ],
)
def test_too_little_may_be_left(document: Any, kind: Kind, type_: type) -> None:
    """Then nothing is said of its meaning."""
    assert salvage(document, kind, shape_problems(document, type_)) is None

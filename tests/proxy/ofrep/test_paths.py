"""Which endpoint a path is."""

import pytest

from proxy.ofrep.paths import Endpoint, Target, find_parameter, find_target


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/ofrep/v1/evaluate/flags", Target(Endpoint.BULK)),
        ("/ofrep/v1/evaluate/flags/", Target(Endpoint.BULK)),
        ("//ofrep/v1/evaluate/flags", Target(Endpoint.BULK)),
        ("/ofrep/v1/evaluate/flags/a", Target(Endpoint.SINGLE, "a")),
        ("/ofrep/v1/evaluate/flags//a", Target(Endpoint.SINGLE, "/a")),
        ("/ofrep/v1/evaluate/flags/%2f", Target(Endpoint.SINGLE, "/")),
        ("///ofrep/v1/evaluate/flags/a//b", Target(Endpoint.SINGLE, "a//b")),
        ("/v1/exposures", Target(Endpoint.EXPOSURES)),
        ("/v1/exposures/", Target(Endpoint.EXPOSURES)),
        ("/v1/exposures/x", Target(Endpoint.OTHER)),
        ("/ofrep/v1/evaluate/flagsx", Target(Endpoint.OTHER)),
        ("/ofrep/v1/evaluate", Target(Endpoint.OTHER)),
        ("/ofrep/v1/streams", Target(Endpoint.STREAM)),
        ("/ofrep/v1/streams/", Target(Endpoint.OTHER)),
        ("/", Target(Endpoint.OTHER)),
        ("", Target(Endpoint.OTHER)),
    ],
)
def test_a_path_is_one_endpoint(path: str, target: Target) -> None:
    """Whatever is not ours is OTHER."""
    assert find_target(path) == target


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("", None),
        ("token", ""),
        ("token=", ""),
        ("token=a", "a"),
        ("x=1&token=a=b&y", "a=b"),
        ("token=a&token=b", "a"),
        ("token=%22a%2Fb%22", '"a/b"'),
        ("tokens=a&Token=b&%74oken=c", None),
        ("token=%ff", "\ufffd"),
        ("token=" + "a" * 256, "a" * 256),
        ("token=" + "a" * 257, None),
    ],
)
def test_a_parameter_is_the_first_of_its_name(query: str, value: str | None) -> None:
    """Decoded once; what is far too long is none of ours."""
    assert find_parameter(query, "token") == value

"""Which endpoint a path is."""

import pytest

from proxy.ofrep.paths import Endpoint, Target, find_target


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
        ("/", Target(Endpoint.OTHER)),
        ("", Target(Endpoint.OTHER)),
    ],
)
def test_a_path_is_one_endpoint(path: str, target: Target) -> None:
    """Whatever is not ours is OTHER."""
    assert find_target(path) == target

"""Which origins get which headers; on the wire in test_routes."""

from proxy.ofrep.cors import Cors
from proxy.ofrep.paths import Endpoint


def test_closed_says_nothing() -> None:
    """No origin is configured, so no header is needed."""
    cors = Cors(())
    assert cors.headers("https://a.example") == ()
    assert cors.preflight("https://a.example", Endpoint.BULK) == ()


def test_any_origin_is_a_star_without_vary() -> None:
    """So that a cache may share the answer."""
    headers = dict(Cors(("*",)).headers("https://a.example"))
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in headers


def test_origins_are_compared_without_case() -> None:
    """The host of an origin has none."""
    cors = Cors(("https://a.example",))
    headers = dict(cors.headers("https://A.example"))
    assert headers["Access-Control-Allow-Origin"] == "https://A.example"


def test_an_origin_that_begins_alike_is_another() -> None:
    """A prefix comparison is a classic hole."""
    cors = Cors(("https://a.example",))
    for origin in ("https://a.example.evil", "http://a.example", "https://a.example:8080", "null"):
        assert "Access-Control-Allow-Origin" not in dict(cors.headers(origin))
        assert cors.preflight(origin, Endpoint.BULK) == ()

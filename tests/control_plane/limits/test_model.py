"""Tests of kinds of requests, and of what callers are told."""

from control_plane.app import ROUTES
from control_plane.limits.model import Kind, Quota, Standing, kind_of, rate_headers
from control_plane.web.routing import Permission


def test_what_sidecars_and_probes_ask_is_not_counted() -> None:
    """A fleet that comes back is not turned away, nor is who looks whether this lives."""
    for route in ROUTES:
        if route.permission in (Permission.SYNC, Permission.REPORT):
            assert kind_of(route) is None, route.path
        if route.permission is Permission.PUBLIC and route.method == "GET":
            assert kind_of(route) is None, route.path


def test_everything_else_is() -> None:
    """By what it does; a draft that is evaluated is read."""
    kinds = {(route.method, route.path): kind_of(route) for route in ROUTES}
    assert kinds["GET", "/api/v1/flags"] is Kind.READ
    assert kinds["GET", "/api/v1/keys"] is Kind.READ
    assert kinds["POST", "/api/v1/keys"] is Kind.WRITE
    assert next(k for (m, p), k in kinds.items() if "/evaluate/" in p) is Kind.READ
    uncounted = {route.permission for route in ROUTES if kind_of(route) is None}
    assert uncounted == {Permission.SYNC, Permission.REPORT, Permission.PUBLIC}


def test_the_headers_tell_all_policies_and_the_scarcest() -> None:
    """One that refuses before one that has less."""
    read, address = Quota("read", "key:k", 100), Quota("address", "192.0.2.1", 1_000)
    plenty = Standing(address, 900, 6.0, 0.0)
    assert rate_headers([Standing(read, 40, 36.0, 0.0), plenty]) == {
        "RateLimit-Policy": '"read";q=100;w=60, "address";q=1000;w=60',
        "RateLimit": '"read";r=40;t=36',
    }
    refused = Standing(address, 0, 60.0, 0.01)
    assert rate_headers([Standing(read, 0, 60.0, 0.0), refused])["RateLimit"] == (
        '"address";r=0;t=60'
    )

"""Tests of the documentation pages without a browser; with one: tests/integration/pages."""

import re

import pytest

from tests.support.api import Api


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/redoc"])
async def test_a_page_asks_nothing_of_another_origin(api: Api, path: str) -> None:
    """By its content and by its policy."""
    reply = await api.ask("GET", path, token=None)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    assert b"//" not in reply.body.replace(b"<!DOCTYPE html>", b"")
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_what_a_page_names_is_there(api: Api, path: str) -> None:
    """Scripts, styles, the icon and the description."""
    page = (await api.ask("GET", path, token=None)).body.decode()
    names = re.findall(r'(?:src|href|spec-url)="([^"]+)"', page)
    assert names
    for name in names:
        assert (await api.ask("GET", name, token=None)).status == 200, name


async def test_a_page_has_no_script_of_its_own(api: Api) -> None:
    """The policy would refuse it."""
    for path in ("/docs", "/redoc"):
        page = (await api.ask("GET", path, token=None)).body.decode()
        assert re.findall(r"<script[^>]*>([^<]+)</script>", page) == []

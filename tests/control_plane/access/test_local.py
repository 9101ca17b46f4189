"""Tests of what passes for the local user's own request: each sign to the contrary on its own."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from control_plane.access.local import why_not_local


class Transport:
    """What is asked of a connection: where the other end is."""

    def __init__(self, peer: object) -> None:
        self.peer = peer

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return the peer's address."""
        return self.peer if name == "peername" else default


def request(
    method: str = "GET",
    peer: object = ("127.0.0.1", 50000),
    **headers: str,
) -> web.Request:
    """Return a request of the local user's, with headers set or, where empty, left out."""
    sent = {"Host": "localhost:8000"} | {k.replace("_", "-"): v for k, v in headers.items()}
    present = {k: v for k, v in sent.items() if v}
    return make_mocked_request(method, "/", headers=present, transport=Transport(peer))


def why(*args: object, **headers: str) -> str | None:
    """Return what tells against a request, no origin being allowed by the settings."""
    return why_not_local(request(*args, **headers), lambda origin: False)  # type: ignore[arg-type]


JSON = {"Content_Type": "application/json"}


def test_a_plain_local_request_passes() -> None:
    """The mission's own examples send nothing but JSON."""
    assert why() is None
    assert why("POST", **JSON) is None
    assert why("DELETE") is None


@pytest.mark.parametrize(
    "peer",
    [("127.0.0.1", 1), ("127.1.2.3", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1, 0, 0)],
)
def test_every_form_of_loopback_is_a_local_peer(peer: object) -> None:
    """Dual-stack sockets show IPv4 peers as mapped addresses."""
    assert why("GET", peer) is None


@pytest.mark.parametrize(
    "peer", [("192.0.2.7", 1), ("::ffff:192.0.2.7", 1, 0, 0), ("2001:db8::1", 1, 0, 0), "", None]
)
def test_another_machine_or_an_unknown_peer_does_not_pass(peer: object) -> None:
    """A unix socket may be anybody's front door."""
    assert why("GET", peer) is not None


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "[::1]"]
)
def test_the_names_of_this_machine_pass(host: str) -> None:
    """With and without a port."""
    assert why(Host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost:8000@evil.example",
        "::1",
        "",
        "localhost:evil",
    ],
)
def test_another_name_does_not_pass(host: str) -> None:
    """A name that was made to resolve to loopback: DNS rebinding."""
    assert why(Host=host) is not None


def test_a_page_of_ones_own_passes() -> None:
    """Swagger UI on this very server."""
    assert why("POST", Origin="http://localhost:8000", Sec_Fetch_Site="same-origin", **JSON) is None


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost:9999", "http://localhost:8000.evil"],
)
def test_a_page_of_another_origin_does_not_pass(origin: str) -> None:
    """Not even of another port of this machine: other users' programs listen there."""
    assert why("POST", Origin=origin, **JSON) is not None


def test_an_origin_that_the_settings_name_passes() -> None:
    """A dashboard under development on another port."""
    allowed = "http://localhost:5173"
    sent = request("POST", Origin=allowed, **JSON)
    assert why_not_local(sent, lambda origin: origin == allowed) is None


def test_what_a_browser_sends_for_another_site_does_not_pass() -> None:
    """An image or a link on somebody's page carries no Origin, but says where it is from."""
    assert why(Sec_Fetch_Site="cross-site") is not None
    assert why(Sec_Fetch_Site="none") is None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_write_that_is_not_declared_as_json_does_not_pass(method: str, kind: str) -> None:
    """These types any page can send to any site without asking first."""
    assert why(method, Content_Type=kind) is not None


def test_a_merge_patch_passes() -> None:
    """It is JSON, and no page can send it without a preflight."""
    assert why("PATCH", Content_Type="application/merge-patch+json") is None


def test_lines_of_json_pass() -> None:
    """So do the units of a segment; a page cannot send them either without a preflight."""
    assert why("PUT", Content_Type="application/x-ndjson") is None


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded", "Via", "X_Real_IP"])
def test_what_was_passed_on_does_not_pass(header: str) -> None:
    """Behind a proxy on this machine every peer is loopback."""
    assert why(**{header: "192.0.2.7"}) is not None

"""What commands say of the control plane that they ask."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from proxy.cli import main
from proxy.contract.asking import BadUrlError, checked_url, later_hint, unreached

PASSWORD = "correct horse battery"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Every command that asks a control plane, and its arguments but `--url`."""
    monkeypatch.setenv("MATRIXFLAG_TOKEN", "mf_service_secret")
    (tmp_path / "flags.json").write_text('{"flags": {}}')
    (tmp_path / "password").write_text(PASSWORD)
    return {
        "fleet": ["fleet"],
        "import": ["import", "flagd", str(tmp_path / "flags.json")],
        "export": ["export", "native"],
        "audit": ["audit", "verify"],
        "admin": [
            *("admin", "create", "--email", "a@example.com"),
            *("--password-file", str(tmp_path / "password")),
        ],
    }


@pytest.fixture
async def busy() -> AsyncIterator[str]:
    """A control plane that has no time now."""

    async def refuse(request: web.BaseRequest) -> web.Response:
        body = {"code": "rate_limited", "detail": "too many"}
        return web.json_response(body, status=429, headers={"Retry-After": "7"})

    runner = web.ServerRunner(web.Server(refuse))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}".format(*runner.addresses[0][:2])
    await runner.cleanup()


@pytest.mark.parametrize("name", ["fleet", "import", "export", "audit", "admin"])
async def test_who_gives_up_says_when_it_is_worth_another_try(
    commands: dict[str, list[str]], busy: str, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """`Retry-After` is for people, too."""
    assert await asyncio.to_thread(main, [*commands[name], "--url", busy]) in (1, 2)
    assert "answers 429: too many; try again in 7 s" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fleet", "import", "export", "audit", "admin"])
async def test_an_address_is_looked_at_before_it_is_asked(
    commands: dict[str, list[str]],
    capsys: pytest.CaptureFixture[str],
    unused_tcp_port: int,
    name: str,
) -> None:
    """What is no URL is told in those terms, and a port without a server as just that."""
    address = f"127.0.0.1:{unused_tcp_port}"
    assert await asyncio.to_thread(main, [*commands[name], "--url", address]) == 2
    told = capsys.readouterr().err
    assert f"'{address}' does not begin with http:// or https://" in told
    assert await asyncio.to_thread(main, [*commands[name], "--url", f"http://{address}"]) == 2
    told = capsys.readouterr().err
    assert "refused: nothing listens there" in told
    assert address in told
    assert "ssl" not in told


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("127.0.0.1:18200", "does not begin with http"),
        ("localhost", "does not begin with http"),
        ("", "does not begin with http"),
        ("ftp://x", "does not begin with http"),
        ("http://", "names no host"),
        ("http:///x", "names no host"),
        ("http://x:0", "names no host"),
        ("http://x:99999", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://x/?a=b", "query"),
        ("http://x/#a", "fragment"),
        ("http://x y", "spaces"),
        ("http://x/\x1b[2J", "spaces"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(url: str, why: str) -> None:
    """In one line, without what a terminal obeys."""
    with pytest.raises(BadUrlError) as refused:
        checked_url(url)
    assert why in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("url", ["http://u:secret@x", "u:secret@x", "http://secret@x:0"])
def test_a_password_in_an_address_is_not_printed(url: str) -> None:
    """Nor is it taken: what is seen in the list of processes is no secret."""
    with pytest.raises(BadUrlError) as refused:
        checked_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://x", "https://x:1/", "http://[::1]:8000", "http://x/behind/a/path/"]
)
def test_an_address_is_taken_as_it_is(url: str) -> None:
    """But for the slash at its end."""
    assert checked_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, ""),
        ("", ""),
        ("12", "; try again in 12 s"),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "; try again at Wed, 21 Oct 2026 07:28:00 GMT"),
        ("\x1b[2J", ""),
        ("9" * 41, ""),
    ],
)
def test_when_to_try_again_is_what_the_answer_said(value: str | None, hint: str) -> None:
    """What cannot be that is left out."""
    assert later_hint(value) == hint


def test_of_several_addresses_none_was_taken() -> None:
    """As `localhost` has them, one for each family."""
    both = "[Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed ('x', 1)"
    assert "nothing listens" in unreached(OSError(f"Multiple exceptions: {both}"))
    assert unreached(OSError(113, "No route to host")) == "No route to host"
    assert unreached(ConnectionResetError()) == "ConnectionResetError"

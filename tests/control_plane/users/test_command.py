"""`matrixflag admin create` against a real control plane."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control_plane.settings import FIRST_ADMIN
from proxy.cli import main
from tests.control_plane.users.people import ADA, logged_in, login, people
from tests.support.api import ADMIN_TOKEN, PASSWORD, Api


@pytest.fixture
async def api(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """A control plane without anybody, named by the environment."""
    async with people(redis_url, admin_token_use=FIRST_ADMIN) as running:
        monkeypatch.setenv("MATRIXFLAG_URL", running.url)
        monkeypatch.setenv("MATRIXFLAG_TOKEN", ADMIN_TOKEN)
        yield running


async def create(*arguments: str) -> int:
    """Run the command, as in a process of its own."""
    return await asyncio.to_thread(main, ["admin", "create", "--email", ADA, *arguments])


async def test_an_administrator_is_made_and_may_do_everything(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a password from a file; a second time there is one already."""
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    assert await create("--password-file", str(path)) == 0
    assert f"{ADA} is an administrator" in capsys.readouterr().out
    token = (await logged_in(api))["access_token"]
    assert (await api.ask("GET", "/api/v1/users", token=token)).status == 200
    assert await create("--password-file", str(path)) == 1
    error = capsys.readouterr().err
    assert "answers 409: there is an administrator already" in error
    assert "give the control plane's" not in error  # it was given


async def test_an_administrator_makes_the_next(
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the access token of a login, from a file as mounted secrets are."""
    path, holder = tmp_path / "password", tmp_path / "token"
    path.write_text(PASSWORD)
    assert await create("--password-file", str(path)) == 0
    holder.write_text((await logged_in(api))["access_token"] + "\n")
    monkeypatch.delenv("MATRIXFLAG_TOKEN")
    again = ("--password-file", str(path), "--token-file", str(holder))
    assert await create(*again, "--email", "bob@example.com") == 0
    assert (await login(api, "bob@example.com")).status == 200
    capsys.readouterr()
    assert await create(*again) == 1
    assert "is there already" in capsys.readouterr().err


async def test_a_password_may_come_from_stdin(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """For scripts."""
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    assert await create("--password-file", "-") == 0
    await logged_in(api)


@pytest.mark.parametrize(
    ("content", "said"),
    [("short", "password: 5 characters"), ("password1234", "password: one of the first")],
)
async def test_a_password_that_is_none_is_refused_before_it_travels(
    api: Api, tmp_path: Path, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is not repeated."""
    path = tmp_path / "password"
    path.write_text(content)
    assert await create("--password-file", str(path)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert content not in error


async def test_what_is_wrong_is_said(
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unused_tcp_port: int,
) -> None:
    """No token, nobody there, no terminal."""
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    monkeypatch.setenv("MATRIXFLAG_TOKEN", "wrong")
    assert await create("--password-file", str(path)) == 1
    assert "give the control plane's ADMIN_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("MATRIXFLAG_TOKEN", "two\nlines")
    assert await create("--password-file", str(path)) == 2
    assert "MATRIXFLAG_TOKEN: it has characters that no token has" in capsys.readouterr().err
    nobody = f"http://127.0.0.1:{unused_tcp_port}"
    assert await create("--password-file", str(path), "--url", nobody) == 2
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert await create() == 2
    assert "--password-file" in capsys.readouterr().err

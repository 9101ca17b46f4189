"""`matrixflag fleet` against a real control plane."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from control_plane.keys import FLEET, REPLICA, SYNC
from proxy.cli import main
from proxy.contract.fleet import Standing
from tests.support.api import ADMIN_TOKEN, Api, api
from tests.support.control_plane import put_flag

__all__ = ["api"]  # a fixture


@pytest.fixture
async def control_plane(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """One that is named by the environment."""
    monkeypatch.setenv("MATRIXFLAG_URL", api.url)
    monkeypatch.setenv("MATRIXFLAG_TOKEN", ADMIN_TOKEN)
    return api


def serve(api: Api, instance: str, *, silent_s: float = 0.0, **members: Any) -> None:
    """Have an instance tell that it serves what is current, so long ago."""
    pointer = api.app[SYNC].current("default", "production").pointer()
    known = {"epoch": pointer.epoch, "revision": pointer.revision, "digest": pointer.digest}
    service = api.app[FLEET]
    now_ms, ago_ms = service._now_ms, round(silent_s * 1000)
    service._now_ms = lambda: now_ms() - ago_ms
    service.hear("default", "production", Standing(instance, **(known | members)))
    service._now_ms = now_ms


async def fleet(*arguments: str) -> int:
    """Run the command, as in a process of its own."""
    return await asyncio.to_thread(main, ["fleet", *arguments])


async def test_it_tells_how_the_fleet_stands(
    control_plane: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who lags is named, with what a terminal would take for a command written out."""
    serve(control_plane, "slow", application="shop", application_version="1", state="polling")
    await put_flag(control_plane.app[REPLICA], "f")
    for number in range(3):
        serve(control_plane, f"good-{number}")
    assert await fleet() == 0
    told = capsys.readouterr().out
    assert "4 sidecars: 3 current, 1 behind, 0 unconfirmed, 0 missing" in told
    row = next(line.split() for line in told.splitlines() if line.startswith("slow"))
    assert row[1] == "behind"
    assert row[3] == "1"
    assert "good-0" not in told


async def test_only_some_laggards_are_named(
    control_plane: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal has so many lines."""
    for number in range(5):
        serve(control_plane, f"slow-{number}", digest="d")
    assert await fleet("--limit", "2") == 0
    told = capsys.readouterr().out
    assert told.count("slow-") == 2
    assert "and 3 more" in told


async def test_shared_names_are_told(
    control_plane: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do about it."""
    for run in ("x", "y", "x"):
        serve(control_plane, "a", run=run)
    assert await fleet() == 0
    assert "MATRIXFLAG_INSTANCE" in capsys.readouterr().out


async def test_json_is_the_answer(control_plane: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs."""
    serve(control_plane, "a")
    assert await fleet("--format", "json", "--project", "default") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["states"]["current"] == 1
    assert told["items"][0]["instance"] == "a"


async def test_waiting_ends_when_all_serve_it(control_plane: Api) -> None:
    """Also by a later revision, and what is published meanwhile is not waited for."""
    serve(control_plane, "a")
    serve(control_plane, "b")
    await put_flag(control_plane.app[REPLICA], "f")
    serve(control_plane, "a")
    waiting = asyncio.create_task(fleet("--wait-for", "current", "--timeout", "60"))
    await asyncio.sleep(0.3)  # it has asked by then, or asks later: both are good
    assert not waiting.done()
    serve(control_plane, "b")
    assert await waiting == 0
    assert await fleet("--wait-for", "1", "--timeout", "0") == 0


async def test_waiting_ends_in_time(control_plane: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """With status 1, for a pipeline to stop at."""
    serve(control_plane, "a")
    await put_flag(control_plane.app[REPLICA], "f")
    assert await fleet("--wait-for", "current", "--timeout", "0.1") == 1
    assert "1 of 1 sidecars do not serve revision" in capsys.readouterr().err
    serve(control_plane, "a")
    assert await fleet("--wait-for", "99", "--timeout", "0") == 1
    assert "99" in capsys.readouterr().err


async def test_who_has_no_snapshot_yet_is_waited_for(control_plane: Api) -> None:
    """It would serve nothing of the change."""
    serve(control_plane, "a", epoch=None, revision=None, digest=None)
    assert await fleet("--wait-for", "current", "--timeout", "0") == 1


async def test_an_epoch_that_is_over_says_nothing(control_plane: Api) -> None:
    """Its revisions are of another history."""
    serve(control_plane, "a", epoch="another", revision=99, digest="d")
    assert await fleet("--wait-for", "current", "--timeout", "0") == 1


async def test_nobody_to_wait_for_is_told(
    control_plane: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of none serve it."""
    assert await fleet("--wait-for", "current") == 0
    assert "no sidecar has told" in capsys.readouterr().err


async def test_what_others_heard_is_waited_for(
    control_plane: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Redis nobody knows whether it is everywhere."""
    serve(control_plane, "a")
    monkeypatch.setattr(type(control_plane.app[FLEET]), "complete", False)
    assert await fleet("--wait-for", "current", "--timeout", "0") == 1
    assert "Redis is away" in capsys.readouterr().err


async def test_who_is_waited_for_is_named_and_for_how_long(
    control_plane: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that was killed is no laggard that will come: nobody wonders for five minutes."""
    monkeypatch.setattr("proxy.fleet._QUIET_S", 0.0)
    serve(control_plane, "killed", silent_s=75)
    await put_flag(control_plane.app[REPLICA], "f")
    serve(control_plane, "good")
    assert await fleet("--wait-for", "current", "--timeout", "1.5") == 1
    told = capsys.readouterr().err
    for line in ("waiting: 1 of 2", "after 1.5 s, 1 of 2"):
        assert f"{line} sidecars do not serve revision 2: killed (serves revision 1, heard" in told
    assert "until it is missing, in 22" in told
    assert told.count("is missing after 300 s of silence; --missing-after") == 1


async def test_who_is_silent_for_too_long_is_not_waited_for(
    control_plane: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the silence that is asked for, which cannot be longer than the control plane's."""
    serve(control_plane, "killed", silent_s=75)
    serve(control_plane, "slow", silent_s=50)
    await put_flag(control_plane.app[REPLICA], "f")
    arguments = ("--wait-for", "current", "--timeout", "0", "--missing-after")
    assert await fleet(*arguments, "60") == 1
    told = capsys.readouterr().err
    assert "1 of 1 sidecars" in told
    assert "slow (" in told
    assert "killed (" not in told
    assert "if it is dead" not in told
    serve(control_plane, "slow")
    assert await fleet(*arguments, "9999") == 1
    assert await fleet(*arguments, "60") == 0


async def test_when_the_last_error_was_is_told(
    control_plane: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of yesterday is not why somebody lags now."""
    serve(control_plane, "new", digest="d", last_error="refused", last_error_ms=30_000)
    serve(control_plane, "old", digest="d", last_error="connect", last_error_ms=7_300_000)
    serve(control_plane, "odd", digest="d", last_error="timeout", last_error_ms=10**18)
    serve(control_plane, "earlier", digest="d", last_error="idle")
    serve(control_plane, "none", digest="d")
    assert await fleet() == 0
    rows = capsys.readouterr().out.splitlines()
    last = {row.split()[0]: row for row in rows if "behind  " in row}
    assert last["new"].endswith("refused, 30 s ago")
    assert last["old"].endswith("connect, 2 h ago")
    assert last["odd"].endswith(" d ago")
    assert last["earlier"].endswith("  idle")
    assert last["none"].endswith("  -")
    answer = (await control_plane.ask("GET", "/api/v1/fleet?instance=new")).json["items"][0]
    assert answer["last_error_at"] < answer["heard_at"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--environment", "none"), "answers 404"),
        (("--url", "http://127.0.0.1:1"), "127.0.0.1:1"),
        (("--url", "ftp://x"), "--url"),
        (("--url", "http://user:secret@x"), "--url"),
        (("--token-file", "/none"), "--token-file"),
    ],
)
async def test_what_cannot_be_asked_is_status_2(
    control_plane: Api,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    told: str,
) -> None:
    """With the reason, and without secrets."""
    assert await fleet(*arguments) == 2
    shown = capsys.readouterr().err
    assert told in shown
    assert "secret" not in shown


async def test_a_wrong_token_is_status_2_at_once(
    control_plane: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting would not make it right."""
    monkeypatch.setenv("MATRIXFLAG_TOKEN", "wrong-wrong-wrong-wrong")
    assert await fleet("--wait-for", "current") == 2


async def test_a_control_plane_that_is_away_is_waited_for(
    control_plane: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until the end of the time, then it is status 2: nothing is known."""
    arguments = ("--url", "http://127.0.0.1:1", "--wait-for", "current", "--timeout", "0.2")
    assert await fleet(*arguments) == 2
    assert "127.0.0.1:1" in capsys.readouterr().err


@asynccontextmanager
async def in_front(
    api: Api, *refusals: web.Response | None
) -> AsyncIterator[tuple[str, list[float]]]:
    """Run what answers with refusals first, None for the API's answer, and the API's then.

    Gives its address, and when it was asked.
    """
    asked: list[float] = []
    left = list(refusals)

    async def answer(request: web.Request) -> web.Response:
        asked.append(time.monotonic())
        refusal = left.pop(0) if left else None
        if refusal is not None:
            return refusal
        reply = await api.ask("GET", request.path_qs)
        return web.Response(status=reply.status, body=reply.body, content_type="application/json")

    server = web.Server(answer)
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2]), asked
    finally:
        await runner.cleanup()


def refusal(status: int, retry_after: str) -> web.Response:
    """Answer as the API does when it is asked too often, or cannot answer now."""
    body = {"code": "rate_limited", "detail": "too many"}
    return web.json_response(body, status=status, headers={"Retry-After": retry_after})


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_for_now_is_waited_out_for_as_long_as_it_says(
    control_plane: Api, status: int
) -> None:
    """And the answer after it counts, with time left."""
    serve(control_plane, "a")
    async with in_front(control_plane, refusal(status, "2")) as (url, asked):
        assert await fleet("--url", url, "--wait-for", "current", "--timeout", "60") == 0
    assert len(asked) == 2
    assert asked[1] - asked[0] >= 2


def _refusals() -> list[web.Response]:
    return [refusal(429, "99") for _ in range(9)]


async def test_a_refusal_at_the_end_does_not_undo_what_was_known(
    control_plane: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not all in time, status 1, and both are told; where nothing was ever known it is 2."""
    serve(control_plane, "a")
    await put_flag(control_plane.app[REPLICA], "f")
    arguments = ("--wait-for", "current", "--timeout", "1")
    async with in_front(control_plane, None, *_refusals()) as (url, asked):
        assert await fleet("--url", url, *arguments) == 1
    told = capsys.readouterr().err
    assert "1 of 1 sidecars do not serve revision" in told
    assert "since then" in told
    assert "answers 429: too many; try again in 99 s" in told
    assert len(asked) <= 3
    async with in_front(control_plane, *_refusals()) as (url, asked):
        assert await fleet("--url", url, *arguments) == 2
    assert len(asked) == 2  # at once, and at the end


@pytest.mark.parametrize(
    "arguments",
    [
        ("--wait-for", "0"),
        ("--wait-for", "-1"),
        ("--wait-for", "newest"),
        ("--timeout", "x"),
        ("--timeout", "nan"),
        ("--limit", "0"),
        ("--limit", "501"),
        ("--missing-after", "59"),
        ("--missing-after", "x"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: tuple[str, ...]) -> None:
    """By the parser, before anybody is asked."""
    with pytest.raises(SystemExit):
        main(["fleet", *arguments])

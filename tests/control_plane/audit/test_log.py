"""The audit log over real HTTP, on a real Redis: written, read, given out, shortened, verified."""

import asyncio
import csv
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from control_plane.audit.log import AuditLog, Retention
from control_plane.keys import REPLICA
from control_plane.publishing.signing import new_signing_key
from control_plane.store.keys import ProjectKeys
from proxy.cli import main
from tests.support.api import ADMIN_TOKEN, Api, api, running_api

__all__ = ["api"]  # a fixture

Json = dict[str, Any]
AUDIT_PATH, EXPORT = "/api/v1/audit", "/api/v1/audit/export"
KEYS = ProjectKeys("default")
DAY_MS = 24 * 3_600 * 1_000


async def changes(api: Api, count: int = 3) -> None:
    """Make a flag and switch it so often."""
    body = {"key": "f", "type": "boolean", "value": True, "enabled": False}
    assert (await api.ask("POST", "/api/v1/flags", json=body)).status == 201
    for number in range(count - 1):
        reply = await api.ask("PATCH", "/api/v1/flags/f", json={"enabled": number % 2 == 0})
        assert reply.status == 200, reply.body


async def entries(api: Api, query: str = "") -> list[Json]:
    """Return all entries that a query finds, newest first, following its pages."""
    found: list[Json] = []
    cursor = ""
    while True:
        page = (await api.ask("GET", f"{AUDIT_PATH}?{query}{cursor}")).json
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def exported(api: Api, path: Path) -> Path:
    """Put an export into a file."""
    reply = await api.ask("GET", EXPORT)
    assert reply.status == 200
    await asyncio.to_thread(path.write_bytes, reply.body)
    return path


async def verify(*arguments: object) -> int:
    """Run the command, as in a process of its own."""
    return await asyncio.to_thread(main, ["audit", "verify", *map(str, arguments)])


# Asked for


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("action=flag.pach", "invalid_parameter", "did you mean flag.patch?"),
        ("actor=ada@example.com", "invalid_parameter", "user:..."),
        ("target=f", "invalid_parameter", "flag:..."),
        ("action=session.begin", "invalid_parameter", "project=~access"),
        ("action=session.refuse", "invalid_parameter", "project=~refused"),
        ("action=session.refuse&project=~access", "invalid_parameter", "project=~refused"),
        ("action=session.begin&project=~refused", "invalid_parameter", "not in the log of who"),
        ("action=flag.&project=~refused", "invalid_parameter", "not in the log of who"),
        ("action=flag.&project=~access", "invalid_parameter", "in the logs of projects"),
        ("target=user:u_x", "invalid_parameter", "of this: environment:..., flag:..."),
        ("target=session:s_x", "invalid_parameter", "is in entries of other logs"),
        ("target=person:ada@example.com", "invalid_parameter", "is in entries of other logs"),
        ("target=flag:x&project=~access", "invalid_parameter", "of this: factor:..."),
        ("target=key:x&project=~refused", "invalid_parameter", "of this: person:..., user:..."),
        ("actor=anonymous", "invalid_parameter", "project=~access or ~refused"),
        ("actor=user:a@example.com&project=~refused", "invalid_parameter", "ask by target"),
        ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "invalid_parameter", "until"),
        ("since=2026-01-01T01:00:00%2B01:00&until=2026-01-01T00:00:00Z", "invalid_parameter", ""),
        ("actoin=flag.patch", "unknown_parameter", "did you mean action?"),
    ],
)
async def test_a_filter_that_can_find_nothing_is_refused(
    api: Api, query: str, code: str, said: str
) -> None:
    """Not answered with an empty list, which says that nobody did it."""
    reply = await api.ask("GET", f"{AUDIT_PATH}?{query}")
    assert (reply.status, reply.json["code"]) == (400, code)
    assert said in reply.json["detail"]
    assert (
        await entries(api, "action=flag.delete&actor=user:nobody@example.com&target=flag:g") == []
    )


# Written


async def test_a_change_says_who_what_and_why(api: Api) -> None:
    """The members that differ, before and after, and the reason as it was given."""
    await changes(api, 1)
    reason = {"X-Matrixflag-Reason": "Bestellung 4711: R%C3%BCckgang"}
    await api.ask("PATCH", "/api/v1/flags/f", json={"enabled": True}, headers=reason)
    newest, made, *_ = await entries(api)
    assert newest["action"] == "flag.patch"
    assert newest["targets"] == ["flag:f"]
    assert newest["reason"] == "Bestellung 4711: Rückgang"
    assert (newest["actor"], newest["address"]) == ("admin", "127.0.0.1")
    assert newest["differences"] == [
        {
            "target": "flag:f",
            "path": "/environments/production/enabled",
            "before": False,
            "after": True,
        }
    ]
    (whole,) = made["differences"]
    assert (whole["path"], "before" in whole, whole["after"]["key"]) == ("", False, "f")
    assert newest["previous"] == made["head"]


async def test_no_secret_is_in_it(api: Api, redis_url: str) -> None:
    """Neither a key nor its hash."""
    created = await api.make_key("server")
    await api.ask("DELETE", f"/api/v1/keys/{created['id']}")
    record = api.app[REPLICA].project("default")
    assert record.keys == {}
    with redis.Redis.from_url(redis_url) as client:
        text = b"".join(fields[b"entry"] for _, fields in client.xrange(KEYS.audit))
    assert created["id"].encode() in text
    assert created["key"].encode() not in text
    assert b"(not shown)" in text


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("x" * 600, "has 600 characters, and 500 at most"),
        ("%C3%BC" * 501, "has 501 characters, and 500 at most"),
        ("a%0Ab", "holds U+000A as character 2"),
        ("%00", "holds U+0000 as character 1"),
        ("gr%FCn", "no UTF-8"),
    ],
)
async def test_a_reason_that_is_none_is_refused(api: Api, reason: str, why: str) -> None:
    """Before anything is changed; a line break in it could be taken for an entry."""
    body = {"key": "g", "type": "boolean", "value": True}
    headers = {"X-Matrixflag-Reason": reason}
    reply = await api.ask("POST", "/api/v1/flags", json=body, headers=headers)
    assert (reply.status, reply.json["code"]) == (400, "invalid_reason")
    assert why in reply.json["detail"]
    assert (await api.ask("GET", "/api/v1/flags/g")).status == 404


async def test_two_replicas_write_one_chain(redis_url: str, tmp_path: Path) -> None:
    """Whoever comes first: the other works its change out again."""
    async with running_api(redis_url) as one, running_api(redis_url) as other:
        await asyncio.gather(
            *(
                api.ask(
                    "POST",
                    "/api/v1/flags",
                    json={"key": f"f{number}", "type": "boolean", "value": True},
                )
                for number in range(20)
                for api in [(one, other)[number % 2]]
            )
        )
        assert len(await entries(one, "action=flag.create")) == 20
        assert await verify(await exported(other, tmp_path / "log")) == 0


# Read


async def test_what_is_asked_for_is_found(api: Api) -> None:
    """By actor, action, kind of action, target and time; others are not."""
    await changes(api)
    assert len(await entries(api)) == 4
    assert len(await entries(api, "action=flag.patch")) == 2
    assert len(await entries(api, "action=flag.")) == 3
    assert len(await entries(api, "target=flag:f&actor=admin")) == 3
    assert await entries(api, "target=flag:other") == []
    assert [entry["action"] for entry in await entries(api, "actor=system")] == ["project.create"]
    assert await entries(api, "until=2020-01-01T00:00:00Z") == []
    assert len(await entries(api, "since=2020-01-01T00:00:00Z&until=2099-01-01T00:00:00Z")) == 4


async def test_pages_neither_repeat_nor_leave_out(api: Api) -> None:
    """However small, and with a filter."""
    await changes(api, 9)
    numbers = [entry["sequence"] for entry in await entries(api, "limit=2")]
    assert numbers == list(range(10, 0, -1))
    assert len(await entries(api, "limit=1&action=flag.patch")) == 8


@pytest.mark.parametrize(
    "query",
    ["since=yesterday", "until=2026-12-01T09:00:00", "cursor=eA", "limit=0", "acter=x"],
)
async def test_a_question_that_makes_no_sense_is_refused(api: Api, query: str) -> None:
    """Rather than answered with everything."""
    assert (await api.ask("GET", f"{AUDIT_PATH}?{query}")).status == 400


async def test_a_project_that_is_not_there_is_404(api: Api) -> None:
    """Not an empty log."""
    for path in (AUDIT_PATH, EXPORT):
        assert (await api.ask("GET", f"{path}?project=nobody")).status == 404


async def test_a_spreadsheet_runs_no_formula(api: Api) -> None:
    """A reason is anybody's text."""
    await changes(api, 1)
    headers = {"X-Matrixflag-Reason": "=HYPERLINK(A1)"}
    await api.ask("PATCH", "/api/v1/flags/f", json={"enabled": True}, headers=headers)
    reply = await api.ask("GET", EXPORT + "?format=csv")
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(reply.body.decode(), newline="")))
    assert [row["action"] for row in rows] == ["project.create", "flag.create", "flag.patch"]
    assert rows[-1]["reason"] == "'=HYPERLINK(A1)"
    assert json.loads(rows[-1]["differences"])[0]["after"] is True


# Verified


async def test_a_log_that_was_left_alone_holds(
    api: Api,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a file and asked for; what is printed is what `--seen` takes."""
    await changes(api)
    path = await exported(api, tmp_path / "log")
    assert await verify(path) == 0
    said = capsys.readouterr().out
    assert said.startswith("OK: 4 entries of project 'default'")
    seen = said.splitlines()[0].split()[-1]
    await api.ask("PATCH", "/api/v1/flags/f", json={"enabled": False})
    monkeypatch.setenv("MATRIXFLAG_URL", api.url)
    monkeypatch.setenv("MATRIXFLAG_TOKEN", ADMIN_TOKEN)
    assert await verify("--seen", seen) == 0
    other = f"{seen.partition(':')[0]}:{'0' * 64}"
    assert await verify("--seen", other) == 1
    assert "it is not the one that --seen names" in capsys.readouterr().out


async def test_what_is_no_export_is_told_by_the_name_of_the_file(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what to take instead; CSV is what one finds first."""
    await changes(api)
    path = tmp_path / "audit.csv"
    path.write_bytes((await api.ask("GET", f"{EXPORT}?format=csv")).body)
    assert await verify(path) == 2
    said = capsys.readouterr().err
    assert f"{path}: line 1" in said
    assert "CSV proves nothing" in said


def _drop(client: "redis.Redis", ids: list[bytes]) -> None:
    client.xdel(KEYS.audit, ids[2])


def _drop_last(client: "redis.Redis", ids: list[bytes]) -> None:
    client.xdel(KEYS.audit, ids[-1])


def _drop_first(client: "redis.Redis", ids: list[bytes]) -> None:
    client.xtrim(KEYS.audit, minid=ids[1].decode(), approximate=False)


def _forge(client: "redis.Redis", ids: list[bytes]) -> None:
    """Say that somebody else did it, in the newest entry."""
    ((_, fields),) = client.xrange(KEYS.audit, ids[-1], ids[-1])
    client.xdel(KEYS.audit, ids[-1])
    fields[b"entry"] = fields[b"entry"].replace(b'"actor":"admin"', b'"actor":"other"')
    client.xadd(KEYS.audit, fields)


def _insert(client: "redis.Redis", ids: list[bytes]) -> None:
    ((_, fields),) = client.xrange(KEYS.audit, ids[1], ids[1])
    client.xadd(KEYS.audit, fields)


@pytest.mark.parametrize("tamper", [_drop, _drop_last, _drop_first, _forge, _insert])
async def test_who_changes_the_log_in_redis_is_found_out(
    api: Api,
    redis_url: str,
    tmp_path: Path,
    tamper: Callable[["redis.Redis", list[bytes]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Removed at any place, changed, or added."""
    await changes(api, 4)
    with redis.Redis.from_url(redis_url) as client:
        tamper(client, [each for each, _ in client.xrange(KEYS.audit)])
    if tamper is _insert:  # which the next change shows
        await api.ask("PATCH", "/api/v1/flags/f", json={"description": "x"})
    assert await verify(await exported(api, tmp_path / "log")) == 1
    assert "BROKEN" in capsys.readouterr().out


async def test_the_log_of_another_project_is_no_proof(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither asked for by name, nor with its own first line changed."""
    await changes(api)
    path = await exported(api, tmp_path / "log")
    assert await verify(path, "--project", "other") == 1
    said = capsys.readouterr().out
    assert "not of 'other'" in said
    assert "it ends with" not in said, "what is broken is nothing to give as --seen"
    path.write_bytes(path.read_bytes().replace(b'"project":"default"', b'"project":"other"', 1))
    assert await verify(path) == 1
    assert "it is of project 'default'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("member", "value", "said"),
    [
        ("sequence", 3, "entry 4: the log ends with it, and the project is at 3"),
        ("project", "other", "the log is of project 'other'"),
    ],
)
async def test_what_a_log_says_of_itself_is_looked_at(
    api: Api,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    member: str,
    value: object,
    said: str,
) -> None:
    """The number it ends with, which is written down for `--seen`, and whose it is."""
    await changes(api)
    path = await exported(api, tmp_path / "log")
    first, *others = path.read_bytes().splitlines(keepends=True)
    begins = json.loads(first) | {member: value}
    path.write_bytes(json.dumps(begins).encode() + b"\n" + b"".join(others))
    assert await verify(path, "--project", "default") == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"audit":"other/1","project":"p","sequence":1,"head":"x"}', b"\xff"]
)
async def test_a_file_that_is_no_export_is_told(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another status than a broken log."""
    path = tmp_path / "log"
    path.write_bytes(content)
    assert await verify(path) == 2
    assert capsys.readouterr().err.startswith(f"matrixflag audit: {path}: line 1")


@pytest.mark.parametrize(
    "arguments", [("/no/such/file",), ("--seen", "1"), ("--public-key", "no key")]
)
async def test_what_cannot_be_used_is_told(
    tmp_path: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """By name."""
    assert await verify(*arguments) == 2
    assert capsys.readouterr().err.startswith("matrixflag audit: ")


# Shortened


async def test_what_is_old_makes_way_for_a_checkpoint(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Signed: the rest still verifies, and with the public key the beginning does, too."""
    key, other = new_signing_key(), new_signing_key()
    async with running_api(redis_url, signing_keys=(key,)) as api:
        await changes(api, 5)
        now_ms = _newest_ms(redis_url)
        log = AuditLog(api.app[REPLICA], Retention(days=1), (key,))
        assert await log.shorten("default", now_ms) == 0
        assert await log.shorten("default", now_ms + 2 * DAY_MS) == 5, "all but the newest"
        assert await log.shorten("default", now_ms + 2 * DAY_MS) == 0
        await api.ask("PATCH", "/api/v1/flags/f", json={"enabled": True})
        path = await exported(api, tmp_path / "log")
    assert await verify(path) == 0
    assert await verify(path, "--public-key", key.public) == 0
    assert "OK: 2 entries of project 'default', 5 before them removed" in (
        said := capsys.readouterr().out
    )
    assert said.count("who removed its beginning was not looked at") == 1
    assert await verify(path, "--public-key", other.public) == 1
    lines = path.read_bytes().splitlines(keepends=True)
    begins = json.loads(lines[0])
    begins["checkpoint"]["removed"] = 4
    path.write_bytes(json.dumps(begins).encode() + b"\n" + b"".join(lines[1:]))
    assert await verify(path, "--public-key", key.public) == 1


async def test_why_entries_are_gone_is_in_the_log(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the setting that removed them."""
    async with running_api(redis_url) as api:
        await changes(api, 5)
        at_ms = _newest_ms(redis_url) + 2 * DAY_MS
        later = SimpleNamespace(time_ns=lambda: at_ms * 1_000_000)
        monkeypatch.setattr("control_plane.audit.log.time", later)
        said = "5 audit entries of project default were removed, older than MATRIXFLAG_AUDIT_DAYS"
        with caplog.at_level(logging.INFO):
            async with AuditLog(api.app[REPLICA], Retention(days=1), ()), asyncio.timeout(20):
                while not any(each.startswith(said) for each in caplog.messages):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.02)
    (told,) = [each for each in caplog.messages if each.startswith(said)]
    assert told.endswith("; a checkpoint stands for them")


async def test_what_was_seen_before_a_log_was_shortened_is_no_break(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What went last is proved by its link; of older ones nothing is left, which has its status."""
    key = new_signing_key()
    async with running_api(redis_url, signing_keys=(key,)) as api:
        await changes(api, 5)
        newest = (await entries(api))[0]
        assert newest["sequence"] == 6
        await api.ask("PATCH", "/api/v1/flags/f", json={"description": "newest, which stays"})
        log = AuditLog(api.app[REPLICA], Retention(days=1), (key,))
        assert await log.shorten("default", _newest_ms(redis_url) + 2 * DAY_MS) == 6
        path = await exported(api, tmp_path / "log")
    last, older, kept = f"6:{newest['head']}", f"5:{newest['previous']}", f"7:{'0' * 64}"
    trusted = ("--public-key", key.public)
    assert await verify(path, "--seen", last) == 0
    assert capsys.readouterr().out.startswith("OK: 1 entries")
    assert await verify(path, *trusted, "--seen", f"6:{'0' * 64}") == 1
    assert "entry 6: it is not the one that --seen names" in capsys.readouterr().out
    for arguments in ((), trusted):
        assert await verify(path, *arguments, "--seen", older, "--seen", last) == 3
        undecided, summary, *_ = capsys.readouterr().out.splitlines()
        assert undecided.startswith("entry 5: --seen names it, and it was removed")
        assert summary.startswith("UNDECIDED: 1 entries of project 'default', 6 before")
        assert "BROKEN" not in summary
    assert await verify(path, "--seen", older, "--seen", kept) == 1, "what is broken is told first"
    assert "BROKEN" in capsys.readouterr().out


async def test_who_shortens_the_log_without_a_key_is_found_out(
    redis_url: str, tmp_path: Path
) -> None:
    """A checkpoint can be written by whoever reaches Redis, but not signed."""
    key = new_signing_key()
    async with running_api(redis_url, signing_keys=(key,)) as api:
        await changes(api, 5)
        forger = AuditLog(api.app[REPLICA], Retention(days=1), (new_signing_key(),))
        assert await forger.shorten("default", _newest_ms(redis_url) + 2 * DAY_MS) == 5
        path = await exported(api, tmp_path / "log")
    assert await verify(path) == 0
    assert await verify(path, "--public-key", key.public) == 1


async def test_nothing_is_signed_for_over_a_log_that_was_tampered_with(
    redis_url: str, tmp_path: Path
) -> None:
    """Neither over a checkpoint of others, nor over entries that do not link."""
    key = new_signing_key()
    async with running_api(redis_url, signing_keys=(key,)) as api:
        await changes(api, 6)
        at = _newest_ms(redis_url) + 2 * DAY_MS
        ours = AuditLog(api.app[REPLICA], Retention(days=1), (key,))
        with redis.Redis.from_url(redis_url) as client:
            ids = [each for each, _ in client.xrange(KEYS.audit)]
            ((_, gone),) = client.xrange(KEYS.audit, ids[2], ids[2])
            client.xdel(KEYS.audit, ids[2])
        assert await ours.shorten("default", at) == 0
        assert await verify(await exported(api, tmp_path / "log"), "--public-key", key.public) == 1
        forged = {
            "project": "default",
            "sequence": 2,
            "head": gone[b"previous"].decode(),
            "removed": 2,
            "at": "2026-01-01T00:00:00.000Z",
        }
        with redis.Redis.from_url(redis_url) as client:
            client.hset(KEYS.meta, "audit_checkpoint", json.dumps(forged))
            client.xdel(KEYS.audit, *ids[:2])
        assert await ours.shorten("default", at) == 0
        assert await verify(await exported(api, tmp_path / "log"), "--public-key", key.public) == 1


async def test_a_log_is_bounded_in_number_too(
    api: Api, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest stay; so many as the bound says."""
    monkeypatch.setattr("control_plane.audit.log._LEEWAY", 2)
    await changes(api, 9)
    log = AuditLog(api.app[REPLICA], Retention(days=400, entries=4))
    assert await log.shorten("default", _newest_ms(redis_url)) == 6
    assert [entry["sequence"] for entry in await entries(api)] == [10, 9, 8, 7]
    assert await log.shorten("default", 0) == 0


async def test_of_replicas_that_shorten_at_once_one_does(redis_url: str, tmp_path: Path) -> None:
    """The checkpoint counts what went once."""
    async with running_api(redis_url) as api:
        await changes(api, 6)
        at = _newest_ms(redis_url) + 2 * DAY_MS
        logs = [AuditLog(api.app[REPLICA], Retention(days=1)) for _ in range(4)]
        assert sorted(await asyncio.gather(*(log.shorten("default", at) for log in logs))) == [
            0,
            0,
            0,
            6,
        ]
        begins = json.loads((await exported(api, tmp_path / "log")).read_text().splitlines()[0])
    assert begins["checkpoint"]["removed"] == 6


def _newest_ms(redis_url: str) -> int:
    with redis.Redis.from_url(redis_url) as client:
        ((entry_id, _),) = client.xrevrange(KEYS.audit, count=1)
    return int(entry_id.partition(b"-")[0])

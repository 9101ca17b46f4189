"""`matrixflag export` from a real control plane, and what its files answer."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from proxy.contract.steps import finish
from proxy.sync.definitions_file import read_definitions
from tests.support.api import ADMIN_TOKEN, Api, api

__all__ = ["api"]  # a fixture

Json = dict[str, Any]

ARMS = [{"variant": "on", "weight": 25_000}, {"variant": "off", "weight": 75_000}]
SPLIT = {"rollout": {"arms": ARMS}}
BETA = {"key": "beta", "when": {"attribute": "plan", "op": "equals", "values": ["pro"]}}
FLAGS: list[Json] = [
    {"key": "hello", "type": "string", "value": "world", "enabled": True, "tags": ["a"]},
    {"key": "limit", "type": "number", "value": 10, "enabled": True, "expires": "2030-01-01"},
    {
        "key": "team/split",
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "metadata": {"team": "a"},
        "environments": {
            "production": {
                "enabled": True,
                "rules": [{"when": {"segment": "beta"}, "serve": {"variant": "on"}}],
                "fallthrough": SPLIT,
            }
        },
    },
    {
        "key": "asking",
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "environments": {
            "production": {
                "enabled": True,
                "prerequisites": [{"flag": "team/split", "variants": ["on"]}],
                "fallthrough": {"variant": "on"},
                "off_variant": "off",
            }
        },
    },
]


@pytest.fixture
async def control_plane(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """One with definitions, named by the environment."""
    for path, documents in (("segments", [BETA]), ("flags", FLAGS)):
        for document in documents:
            reply = await api.ask("POST", f"/api/v1/{path}", json=document)
            assert reply.status == 201, reply.body
    monkeypatch.setenv("MATRIXFLAG_URL", api.url)
    monkeypatch.setenv("MATRIXFLAG_TOKEN", ADMIN_TOKEN)
    return api


async def export(*arguments: str) -> int:
    """Run the command, as in a process of its own."""
    return await asyncio.to_thread(main, ["export", *arguments])


async def test_a_native_file_is_what_sidecars_are_sent(control_plane: Api, tmp_path: Path) -> None:
    """In every environment, to the byte: the digest is that of the snapshot."""
    path = tmp_path / "flags.json"
    assert await export("native", "--output", str(path)) == 0
    data = path.read_bytes()
    for environment in ("production", "staging"):
        reply = await control_plane.ask("GET", f"/api/v1/environments/{environment}")
        content = finish(read_definitions(data, environment, []))
        assert content.digest == reply.json["digest"]


async def test_a_native_file_is_accepted_and_changes_nothing(
    control_plane: Api, tmp_path: Path
) -> None:
    """What was written can be sent back."""
    path = tmp_path / "flags.json"
    assert await export("native", "--output", str(path)) == 0
    assert await asyncio.to_thread(main, ["validate", "--strict", str(path)]) == 0
    document = json.loads(path.read_text())
    for kind in ("flags", "segments"):
        assert document[kind]
        for item in document[kind]:
            reply = await control_plane.ask("PUT", f"/api/v1/{kind}/{item['key']}", json=item)
            assert (reply.status, reply.json["version"]) == (200, 1)


async def test_one_environment_only(
    control_plane: Api, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """And to stdout, with nothing else in it."""
    assert await export("native", "--environment", "staging") == 0
    out, err = capfdbinary.readouterr()
    by_key = {flag["key"]: flag for flag in json.loads(out)["flags"]}
    assert by_key["hello"]["environments"].keys() == {"staging"}
    assert by_key["asking"]["environments"] == {}
    assert err == b""


async def test_long_lists_are_said_to_be_missing(
    control_plane: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Status 1, because the file answers otherwise."""
    lines = "".join(f'{{"include": "u-{n}"}}\n' for n in range(1_500))
    reply = await control_plane.ask(
        "PUT",
        "/api/v1/segments/beta/units",
        data=lines,
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert reply.status == 200, reply.body
    assert await export("native", "--output", str(tmp_path / "flags.json")) == 1
    assert "segment beta: its long lists, of 1,500 included" in capfd.readouterr().err
    assert await export("flagd", "--output", str(tmp_path / "flagd.json")) == 1
    assert "'beta' has long lists" in capfd.readouterr().err
    assert "team/split" not in json.loads((tmp_path / "flagd.json").read_text())["flags"]


async def test_flagd_with_a_report(
    control_plane: Api, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What cannot be said is left out, is told as JSON, and is the status."""
    path = tmp_path / "flagd.json"
    assert await export("flagd", "--output", str(path), "--format", "json") == 1
    document = json.loads(path.read_text())
    assert document["flags"].keys() == {"hello", "limit", "team/split"}
    assert document["$evaluators"].keys() == {"beta"}
    remarks = json.loads(capfd.readouterr().err)
    assert [(r["kind"], r["key"]) for r in remarks if r["left_out"]] == [("flag", "asking")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--environment", "prod"), "there is no environment 'prod'"),
        (("--project", "gone"), "404"),
        (("--token-file", "another"), "MATRIXFLAG_TOKEN"),
        (("--token-file", "a b"), "--token-file"),
        (("--token-file", ""), "there is no token in it"),
        (("--url", "http://127.0.0.1:1"), "127.0.0.1:1"),
        (("--url", "http://u:p@127.0.0.1:1"), "--url or MATRIXFLAG_URL: "),
        (("--url", "localhost:8000"), "--url or MATRIXFLAG_URL: "),
        (("--output", "/no/such/folder/file"), "No such file"),
    ],
)
async def test_what_cannot_be_done_is_status_2(
    control_plane: Api,
    arguments: tuple[str, ...],
    said: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """With the reason, and nothing on stdout."""
    if arguments[0] == "--token-file":
        (tmp_path / "token").write_text(arguments[1])
        arguments = ("--token-file", str(tmp_path / "token"))
    assert await export("native", *arguments) == 2
    out, err = capfd.readouterr()
    assert said in err
    assert "{" not in err
    assert "a b" not in err
    assert out == ""


async def test_a_file_that_is_there_stays_when_nothing_can_be_read(
    control_plane: Api, tmp_path: Path
) -> None:
    """Nor is anything left beside it."""
    path = tmp_path / "flags.json"
    path.write_text("old")
    (tmp_path / "token").write_text("another")
    given = ("--token-file", str(tmp_path / "token"))
    assert await export("native", *given, "--output", str(path)) == 2
    assert path.read_text() == "old"
    (tmp_path / "token").unlink()
    assert os.listdir(tmp_path) == [path.name]

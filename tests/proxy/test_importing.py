"""`matrixflag import` against a running control plane: what it sends, prints and exits with."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from proxy.cli import main
from tests.support.api import ADMIN_TOKEN, Api
from tests.support.processes import running_sidecar

FLAGD = """
$schema: https://flagd.dev/schema/v0/flags.json
flags:
  banner:
    state: ENABLED
    variants: {on: true, off: false}
    defaultVariant: on
  colour:
    state: ENABLED
    variants: &colours {red: "#f00", blue: "#00f"}
    defaultVariant: red
"""


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The administrator's token is in the environment."""
    monkeypatch.setenv("MATRIXFLAG_TOKEN", ADMIN_TOKEN)
    monkeypatch.delenv("MATRIXFLAG_URL", raising=False)


async def run(api: Api, *arguments: str) -> int:
    """Run the command against the control plane."""
    return await asyncio.to_thread(main, ["import", *arguments, "--url", api.url])


def written(tmp_path: Path, text: str, name: str = "flags.yaml") -> str:
    """Return the path of a file with this text."""
    path = tmp_path / name
    path.write_text(text)
    return str(path)


async def test_a_yaml_file_is_imported(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan is printed, tried without writing first, and nothing is left to do afterwards."""
    file = written(tmp_path, FLAGD)
    assert await run(api, "flagd", file, "--dry-run") == 0
    dry = capsys.readouterr().out
    assert "+ flag banner\n+ flag colour\n" in dry
    assert "a dry run" in dry
    assert (await api.ask("GET", "/api/v1/flags/banner")).status == 404
    assert await run(api, "flagd", file, "--environment", "staging") == 0
    capsys.readouterr()
    flag = (await api.ask("GET", "/api/v1/flags/banner?environment=staging")).json
    assert (flag["value"], flag["enabled"]) == (True, True)
    assert list(flag["environments"]) == ["staging"]
    assert await run(api, "flagd", file, "--environment=staging", "--format=json") == 0
    assert json.loads(capsys.readouterr().out)["unchanged"] == ["banner", "colour"]


async def test_what_is_refused_is_told_and_is_the_status(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One flag, or the whole file; and `--replace` takes what was made here."""
    body = {"key": "banner", "type": "boolean", "value": False, "enabled": True}
    assert (await api.ask("POST", "/api/v1/flags", json=body)).status == 201
    file = written(tmp_path, FLAGD)
    assert await run(api, "flagd", file) == 1
    out = capsys.readouterr().out
    assert "! flag banner is refused\n" in out
    assert "[key_in_use] (say replace=true" in out
    assert "1 created, 0 changed, 0 unchanged, 1 refused" in out
    assert await run(api, "flagd", file, "--replace") == 0
    assert "~ flag banner (" in capsys.readouterr().out
    assert await run(api, "unleash", file) == 1
    assert "nothing is imported" in capsys.readouterr().out


async def test_what_changes_for_units_and_what_is_only_here_is_printed(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Below the flag that changes, and in a list and the counts."""
    assert await run(api, "flagd", written(tmp_path, FLAGD)) == 0
    other = """
    banner: {variations: {on: true, off: false}, defaultRule: {variation: "off"}}
    """
    assert await run(api, "goff", written(tmp_path, other)) == 1
    assert "imported from flagd; the file is goff's" in capsys.readouterr().out
    assert await run(api, "goff", written(tmp_path, other), "--replace") == 0
    out = capsys.readouterr().out
    assert "~ flag banner (" in out
    assert "\n  warning: /environments/production/source/dialect: flagd -> goff: " in out
    assert await run(api, "flagd", written(tmp_path, "flags: {}")) == 0
    out = capsys.readouterr().out
    assert "? flag colour is only here, not in the file\n" in out
    assert "0 refused; 1 only here; nothing to write" in out


async def test_options_reach_the_reader(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the types that they have."""
    file = written(tmp_path, FLAGD)
    assert await run(api, "flagd", file, "--option", "fractional=v1") == 0
    flag = (await api.ask("GET", "/api/v1/flags/banner")).json
    source = flag["environments"]["production"]["source"]
    assert source["options"] == {"fractional": "v1"}
    capsys.readouterr()
    assert await run(api, "flagd", file, "--option", "fractionl=v1") == 1
    assert "/options/fractionl" in capsys.readouterr().out
    assert await run(api, "flagd", file, "--option", "fractional") == 2


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ('{"flags": {}, "flags": {}}', "a.json", "flags"),
        ("flags: {}\nflags: {}", "a.yaml", "already"),
        ("[" * 500, "a.json", "too early"),
        (None, "none.json", "No such file"),
    ],
)
async def test_a_file_that_cannot_be_read_is_not_sent(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, name: str, why: str
) -> None:
    """Status 2, with the reason."""
    file = str(tmp_path / name) if text is None else written(tmp_path, text, name)
    assert await run(api, "flagd", file) == 2
    assert why in capsys.readouterr().err


MISTAKES = {
    "twice": '{"state": "ENABLED",\n "variants": {"on": 1, "on": 2}, "defaultVariant": "on"}',
    "large": '{"state": "ENABLED", "variants": {"on": 1e400}, "defaultVariant": "on"}',
    "integer": f'{{"state": "ENABLED", "variants": {{"on": {"9" * 5000}}}}}',
    "nan": '{"state": "ENABLED", "variants": {"on": NaN}, "defaultVariant": "on"}',
    "half": '{"state": "ENABLED", "variants": {"on": "\\ud83d"}, "defaultVariant": "on"}',
    "deep": '{"state": "ENABLED", "variants": {"on": ' + '{"a":' * 100 + "1" + "}" * 102,
    "asks": '{"state": "ENABLED", "variants": {"on": true}, "targeting": {"$ref": "e"}}',
}


async def test_a_mistake_in_the_text_of_a_flag_costs_that_flag(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its place and line, though the text is not sent as it is; all others are imported."""
    good = '{"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}'
    flags = ",\n".join(f'"{key}": {flag}' for key, flag in MISTAKES.items())
    text = f'{{"flags": {{"good": {good},\n{flags},\n"again": {good}, "again": {good}}},\n'
    text += '"$evaluators": {"e": {"==": [1, 1], "==": [1, 2]}, "f": {"==": [NaN, 1]}}}'
    assert await run(api, "flagd", written(tmp_path, text, "flags.json")) == 1
    out = capsys.readouterr().out
    assert out.startswith("+ flag good\n")
    assert "flags: 1 created, 0 changed, 0 unchanged, 8 refused" in out
    for key, where, why in (
        ("twice", "/flags/twice/variants/on", "'on' is given twice, at line 3 [duplicate_key]"),
        ("large", "/flags/large/variants/on", "at line 4 [number_out_of_range]"),
        ("integer", "/flags/integer/variants/on", "at line 5 [number_out_of_range]"),
        ("nan", "/flags/nan/variants/on", "no NaN and no Infinity, at line 6 [malformed_json]"),
        ("half", "/flags/half/variants/on", "half of a character, at line 7 [malformed_json]"),
        ("deep", "/flags/deep/variants/on/a", "deeper than 64, at line 8 [too_deep]"),
        ("asks", "/$evaluators/e/==", "'==' is given twice, at line 11 [duplicate_key]"),
        ("again", "/flags/again", "'again' is given twice, at line 10 [duplicate_key]"),
    ):
        told = out.partition(f"! flag {key} is refused\n")[2].splitlines()[0]
        assert told.startswith(f"  error: {where}")
        assert why in told
    assert (await api.ask("GET", "/api/v1/flags/good")).status == 200


async def test_a_mistake_of_yaml_costs_the_flag_it_is_in(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its line, and those that take it over by an alias."""
    text = FLAGD + "  bad: &bad\n    state: ENABLED\n    state: DISABLED\n  same: *bad\n"
    text += "  old: {state: ENABLED, variants: {on: 010}}\n"
    assert await run(api, "flagd", written(tmp_path, text)) == 1
    out = capsys.readouterr().out
    assert out.startswith("+ flag banner\n+ flag colour\n! flag bad is refused\n")
    assert "error: /flags/bad/state: the key 'state' at line 14 is at line 13 already" in out
    assert "! flag same is refused\n  error: /flags/same: the key 'state' at line 14" in out
    assert "! flag old is refused\n  error: /flags/old/variants/on: 010 at line 16 is read" in out
    assert "flags: 2 created, 0 changed, 0 unchanged, 3 refused" in out


async def test_an_option_is_read_as_strictly_as_ever(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stands in no flag."""
    groups = written(tmp_path, '{"a": [1],\n "a": [2]}', "groups.json")
    file = written(tmp_path, '{"features": {}}', "features.json")
    assert await run(api, "growthbook", file, "--option", f"savedGroups=@{groups}") == 2
    assert "groups.json: /a: the member 'a' is given twice, at line 2" in capsys.readouterr().err


async def test_a_control_plane_that_does_not_answer_is_told(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2: no such environment, no token, nobody there, no address."""
    file = written(tmp_path, FLAGD)
    assert await run(api, "flagd", file, "--environment", "nope") == 2
    assert "answers 404: there is no environment 'nope'" in capsys.readouterr().err
    monkeypatch.setenv("MATRIXFLAG_TOKEN", "wrong")
    assert await run(api, "flagd", file) == 2
    said = capsys.readouterr().err
    assert "answers 401" in said
    assert "; give a service key, or the access token of a login, in MATRIXFLAG_TOKEN" in said
    holder = written(tmp_path, ADMIN_TOKEN + "\n", "token")
    assert await run(api, "flagd", file, "--token-file", holder) == 0
    monkeypatch.setenv("MATRIXFLAG_URL", "http://127.0.0.1:1")
    assert await asyncio.to_thread(main, ["import", "flagd", file]) == 2
    assert "cannot be reached" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["import", "flagd", file, "--url", "file:///x"]) == 2


@pytest.mark.parametrize("around", ["{}\n", "  {}\r\n", "{}"])
async def test_space_around_a_token_is_not_of_it(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    """As mounted secrets have it, in the environment and in a file."""
    file, token = written(tmp_path, FLAGD), around.format(ADMIN_TOKEN)
    monkeypatch.setenv("MATRIXFLAG_TOKEN", token)
    assert await run(api, "flagd", file) == 0
    monkeypatch.setenv("MATRIXFLAG_TOKEN", "wrong")
    assert await run(api, "flagd", file, "--token-file", written(tmp_path, token, "t")) == 0


@pytest.mark.parametrize("bad", ["sesame\nsesame", "sesame\u00fc", "se same", "", "\n"])
async def test_a_token_is_never_printed(
    api: Api,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    bad: str,
) -> None:
    """Nor is an empty file taken for none."""
    file = written(tmp_path, FLAGD)
    assert await run(api, "flagd", file, "--token-file", written(tmp_path, bad, "t")) == 2
    monkeypatch.setenv("MATRIXFLAG_TOKEN", bad)
    assert await run(api, "flagd", file) == 2
    captured = capsys.readouterr()
    assert "same" not in captured.out + captured.err
    assert "token" in captured.err.lower()


async def test_what_a_terminal_obeys_is_written_out(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In keys and in what is said of them; one line stays one."""
    flag = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
    keys = ["a\x1b[31mRED\x07", "b\nc", "ü ok"]
    file = written(tmp_path, json.dumps({"flags": dict.fromkeys(keys, flag)}), "f.json")
    assert await run(api, "flagd", file) == 1
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert "! flag a\\x1b[31mRED\\x07 is refused\n" in out
    assert "! flag b\\nc is refused\n" in out
    assert "+ flag ü ok\n" in out


@pytest.mark.parametrize(("arguments", "perhaps"), [((), True), (("--dry-run",), False)])
async def test_an_interrupt_says_what_is_not_known(
    tmp_path: Path, arguments: tuple[str, ...], perhaps: bool
) -> None:
    """A server that has the request and does not answer may have applied it."""
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        command = ["-m", "proxy", "import", "flagd", written(tmp_path, FLAGD), *arguments]
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            "--url",
            f"http://127.0.0.1:{port}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            await asked.wait()
            running.send_signal(signal.SIGINT)
            out, err = await running.communicate()
    assert (running.returncode, out) == (130, b"")
    assert b"interrupted" in err
    assert b"Traceback" not in err
    assert (b"may have been applied" in err) is perhaps


async def test_a_sidecar_is_told_from_a_control_plane(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It answers 404 to whatever it does not know."""
    snapshot = written(tmp_path, '{"flags": []}', "native.json")
    with running_sidecar(tmp_path, "--snapshot", Path(snapshot)) as sidecar:
        arguments = ["import", "flagd", written(tmp_path, FLAGD), "--url", sidecar.ofrep]
        assert await asyncio.to_thread(main, arguments) == 2
    assert "a sidecar takes no imports" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("import", "flagd"), ("export", "native"), ("fleet",)])
async def test_a_key_of_another_project_is_told_to_name_it(
    api: Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
) -> None:
    """All commands ask about the default project where none is named."""
    assert (await api.ask("POST", "/api/v1/projects", json={"key": "shop"})).status == 201
    made = {"kind": "service", "role": "manager"}
    reply = await api.ask("POST", "/api/v1/keys?project=shop", json=made)
    monkeypatch.setenv("MATRIXFLAG_TOKEN", reply.json["key"])
    monkeypatch.setenv("MATRIXFLAG_URL", api.url)
    file = [written(tmp_path, FLAGD)] if command[0] == "import" else []
    assert await asyncio.to_thread(main, [*command, *file]) == 2
    assert "with --project shop" in capsys.readouterr().err
    assert await asyncio.to_thread(main, [*command, *file, "--project", "shop"]) == 0

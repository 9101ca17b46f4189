"""`loadtests.compare`, with real servers and real load, for as short as it shows that it works."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.addresses import read_address
from loadtests.compare import main
from loadtests.controls import Control, running_control
from loadtests.formats import FORMATS
from loadtests.scenarios import SCENARIOS
from tests.loadtests.servers import forwarding, in_thread, recording
from tests.support.processes import ROOT, Sidecar, running_sidecar
from tests.support.tools import require

SHORT = ["--seconds", "0.3", "--rounds", "1", "--connections", "4", "--contexts", "30"]
PYTHON = [*SHORT, "--generator", "python"]
ROUTE = "/ofrep/v1/evaluate/flags/load-single"


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """A sidecar with the flag of the scenario `single`."""
    directory = tmp_path_factory.mktemp("sidecar")
    file = directory / "flags.json"
    file.write_text(json.dumps(FORMATS["native"](SCENARIOS["single"].flags())))
    with running_sidecar(directory, "--snapshot", file) as running:
        yield running


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """A server whose answers are of a user that no rule matches."""
    body = b'{"key":"load-single","value":"neither","variant":"none","reason":"DEFAULT"}'
    directory = tmp_path_factory.mktemp("constant")
    with running_control("constant", directory, route=ROUTE, body=body) as running:
        yield running


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_measured(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sidecar and both control servers; the ratios come last, the file has every turn."""
    file = tmp_path / "found.json"
    arguments = ["--scenario", name, "--sidecar", "--control", "--json", str(file), *PYTHON]
    assert main(arguments) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("sidecar / aiohttp: requests/s ")
    found = json.loads(file.read_text())
    assert [target["name"] for target in found["targets"]] == ["sidecar", "constant", "aiohttp"]
    for target in found["targets"]:
        (turn,) = target["turns"]
        assert turn["requests"] > 0
        assert target["wrong"] == turn["wrong"] == 0
        assert 0 < target["p50_us"] <= target["p99_us"]
        evaluated = target["evaluations_per_s"]
        if name in ("single", "notmodified"):
            assert evaluated is None
        else:
            assert evaluated == pytest.approx(target["per_s"] * found["flags"])
    assert [(ratio["of"], ratio["to"]) for ratio in found["ratios"]] == [
        ("sidecar", "constant"),
        ("sidecar", "aiohttp"),
    ]
    first, other = (target["turns"][0]["per_s"] for target in found["targets"][:2])
    assert found["ratios"][0]["per_s"] == pytest.approx(first / other)


def test_wrk_measures_it_too(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]) -> None:
    """wrk is what is used unless one says otherwise; it knows only whole seconds."""
    require("wrk")
    target = f"ours={sidecar.ofrep},pid={sidecar.pid}"
    assert main(["--target", target, *SHORT, "--seconds", "1"]) == 0
    out = capsys.readouterr().out
    assert "wrk, 4 connections, rounds: 1 of 1 s, 30 contexts" in out
    assert "\nours " in out


def test_a_unix_socket_is_a_target(
    sidecar: Sidecar, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the bundled generator, which then loads the others as well."""
    address = read_address(sidecar.ofrep)
    with in_thread(lambda: forwarding(tmp_path / "s.sock", address)) as url:
        assert main(["--target", f"a={url}", "--target", f"b={sidecar.ofrep}", *SHORT]) == 0
    out = capsys.readouterr().out
    assert "python, 4 connections" in out
    assert out.splitlines()[-1].startswith("a / b: requests/s ")
    assert "CPU per request" not in out  # no process was named


def test_the_command_runs_as_one_types_it(sidecar: Sidecar) -> None:
    """In a shell, from the checkout."""
    command = [sys.executable, "-m", "loadtests.compare", "--target", f"a={sidecar.ofrep}", *PYTHON]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("single: ")


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line that tells why nothing was measured."""
    assert main([*arguments, *PYTHON]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("compare: ")
    assert captured.out == ""
    return line


def test_a_wrong_answer_is_told_before_the_load(
    constant: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that gives the same to all is the fastest."""
    line = _refused(capsys, "--target", f"wrong={constant.url}")
    assert "wrong: load-single: the value is 'neither', not one of ['first', 'second']" in line


@pytest.mark.parametrize(
    ("status", "scenario", "why"),
    [(503, "single", "status 503, not 200: {}"), (200, "bulk5", "KeyError: 'flags' in {}")],
)
def test_a_server_that_refuses_is_told_before_the_load(
    status: int, scenario: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it said is quoted."""
    with in_thread(lambda: recording(lambda _: status)) as recorder:
        line = _refused(capsys, "--target", f"it={recorder.url}", "--scenario", scenario)
    assert f"it: {why}" in line


def _right(body: bytes) -> bytes:
    flags = SCENARIOS["single"].flags()
    (flag,) = flags.flags
    variant, *_ = flags.possible(flag, json.loads(body)["context"])
    return json.dumps({"key": flag.key, "value": flag.variants[variant]}).encode()


def test_answers_that_turn_wrong_are_counted(
    sidecar: Sidecar, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures are printed, but the run is no success."""

    def status_of(number: int) -> int:
        return 200 if number < 100 else 500

    with in_thread(lambda: recording(status_of, _right)) as recorder:
        targets = ["--target", f"ours={sidecar.ofrep}", "--target", f"it={recorder.url}"]
        assert main([*targets, *PYTHON, "--seconds", "1"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].startswith("ours / it: ")
    assert captured.err.startswith("compare: it: ")
    assert captured.err.endswith(" answers were no 200, or none\n")


def test_a_server_without_etags_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """It cannot be asked whether anything was modified."""
    with in_thread(recording) as recorder:
        line = _refused(capsys, "--target", f"it={recorder.url}", "--scenario", "notmodified")
    assert line == "compare: it: no ETag"


def test_a_server_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """By name and address."""
    with in_thread(recording) as recorder:
        url = recorder.url
    assert f"gone: no answer at {url}: " in _refused(capsys, "--target", f"gone={url}")
    socket = "/no/such/socket"
    assert f"no answer at unix:{socket}: " in _refused(capsys, "--target", f"s=unix:{socket}")


NOTHING = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "nothing to measure"),
        (["--target", f"a={NOTHING}", "--scenario", "double"], "--scenario double: there is none"),
        (["--target", f"a={NOTHING},pid=99999999"], "pid=99999999: there is no such process"),
        (["--target", f"a={NOTHING},pid=x"], "pid=x: there is no such process"),
        (["--target", f"a={NOTHING},x=1"], "'x' is none of pid, api, key"),
        (["--target", f"a={NOTHING},api=soap"], "api=soap is none of"),
        (["--target", "a"], "not NAME=URL"),
        (["--target", f"={NOTHING}"], "not NAME=URL"),
        (["--target", "a=ftp://x"], "neither http://HOST:PORT nor unix:/PATH"),
        (["--target", "a=http://x:port"], "--target a: "),
        (["--target", f"a={NOTHING}", "--target", f"a={NOTHING}"], "two targets are named a"),
        (["--target", f"aiohttp={NOTHING}", "--control"], "two targets are named aiohttp"),
        (["--target", f"a={NOTHING},api=unleash", "--scenario", "notmodified"], "is of OFREP"),
        (["--target", f"a={NOTHING}", "--json", "/no/such/place/x.json"], "no such directory"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names what is wrong."""
    assert why in _refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--seconds", "0"], "--seconds 0: from 0.1 to 3,600"),
        (["--connections", "0"], "--connections 0: from 1 to 10,000"),
        (["--rounds", "0"], "--rounds 0: from 1 to 1,000"),
        (["--contexts", "0"], "--contexts 0: from 1 to 1,000,000"),
        (["--generator", "wrk", "--seconds", "1.5"], "wrk knows whole seconds only"),
        (["--generator", "wrk", "--target", "s=unix:/x"], "wrk knows no Unix sockets"),
    ],
)
def test_a_load_that_cannot_be_is_one_line(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was started, nobody was asked."""
    require("wrk")
    assert main(["--target", f"a={NOTHING}", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line


def test_without_wrk_one_cannot_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And unless one does, the bundled generator does it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--target", f"a={NOTHING}", "--generator", "wrk"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "wrk is not on PATH" in line
    assert main(["--target", f"a={NOTHING}"]) == 2
    assert "no answer at" in capsys.readouterr().err


def test_a_key_and_a_prefix_are_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """A server of another API, behind a path, that wants to know who asks."""
    with in_thread(recording) as recorder:
        _refused(capsys, "--target", f"it={recorder.url}/edge,api=unleash,key=secret")
    first = recorder.heads[0].decode()
    assert first.startswith("POST /edge/api/frontend/features/load-single HTTP/1.1\r\n")
    assert "\r\nAuthorization: secret\r\n" in first
    assert json.loads(recorder.bodies[0])["userId"] == "user-0"


def test_this_process_can_be_a_target_s(
    sidecar: Sidecar, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--no-pin` leaves it on its cores."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    assert main(["--target", f"a={sidecar.ofrep},pid={os.getpid()}", "--no-pin", *PYTHON]) == 0
    assert "servers not pinned" in capsys.readouterr().out
    assert cores is None or os.sched_getaffinity(0) == cores

"""`matrixflag dev` as a new user meets it: starts, says what to type, keeps data, stops, always."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import redis
import requests

from tests.flow.dev import FREE_PORTS, Dev, running_dev
from tests.support.family import family, gone
from tests.support.processes import ROOT, wait_for_json
from tests.support.redis import RedisServer

FLAG = {"key": "kept", "type": "string", "value": "here", "enabled": True}


@pytest.fixture(autouse=True)
def _not_under_nohup() -> Iterator[None]:
    """What `nohup` ignores would be ignored in all programs that are started; a handler is not."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


def run_dev(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it when it is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", "dev", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )


def ports_of(dev: Dev) -> list[int]:
    """Return the ports it listens on."""
    names = ("control_plane_url", "metrics_url", "sidecar_url", "admin_url")
    return [int(dev.document[name].rpartition(":")[2]) for name in names]


def listens(ports: Sequence[int], started_before: float) -> bool:
    """Return whether somebody of that age (Unix time) listens on one of these ports.

    A port that is free again may be another test's by now.
    """
    for each in psutil.net_connections("tcp"):
        if each.status == psutil.CONN_LISTEN and each.laddr.port in ports and each.pid:
            with contextlib.suppress(psutil.NoSuchProcess):
                if psutil.Process(each.pid).create_time() < started_before:
                    return True
    return False


def stop(dev: Dev, number: signal.Signals) -> int:
    """Send a signal and return the status it ended with."""
    dev.process.send_signal(number)
    return dev.process.wait(30)


def test_it_writes_down_where_everything_is(tmp_path: Path) -> None:
    """All addresses answer, the credentials work, and only this user can read them."""
    with running_dev(tmp_path / "data") as dev:
        document = dev.document
        assert document.keys() >= {
            "control_plane_url",
            "metrics_url",
            "sidecar_url",
            "admin_url",
            "redis_url",
            "sidecar_key",
            "service_key",
            "admin_email",
            "admin_password",
        }
        assert "admin_token" not in document
        assert stat.S_IMODE((tmp_path / "data" / "dev.json").stat().st_mode) == 0o600
        assert requests.get(document["control_plane_url"] + "/health", timeout=10).ok
        assert requests.get(document["metrics_url"] + "/metrics", timeout=10).ok
        assert requests.get(document["admin_url"] + "/readyz", timeout=10).ok
        program = {"Authorization": f"Bearer {document['service_key']}"}
        assert dev.api("GET", "/api/v1/flags", headers=program).ok
        assert dev.api("GET", "/api/v1/keys", headers=program).ok
        account = {name: document[f"admin_{name}"] for name in ("email", "password")}
        logged_in = dev.api("POST", "/api/v1/auth/login", json=account)
        bearer = {"Authorization": f"Bearer {logged_in.json()['access_token']}"}
        assert dev.api("GET", "/api/v1/users", headers=bearer).json()["items"]
        with redis.Redis.from_url(document["redis_url"]) as client:
            assert client.ping()
        assert dev.evaluate("hello-matrix")["value"] == "Hello!"


def test_the_printed_lines_work_when_pasted(tmp_path: Path) -> None:
    """Ask, change, ask again, count: in a plain shell, word for word."""
    with running_dev(tmp_path / "data") as dev:
        ask, change, count = dev.curl_lines()
        assert json.loads(dev.paste(ask))["value"] == "Hello!"
        assert json.loads(dev.paste(change))["value"] == "Bonjour!"
        deadline = time.monotonic() + 10
        while json.loads(dev.paste(ask))["value"] != "Bonjour!":
            assert time.monotonic() < deadline
        assert "matrixflag_evaluations_total" in dev.paste(count)
        for url in ("control_plane_url", "metrics_url", "sidecar_url", "admin_url"):
            assert dev.document[url] in dev.said()


def test_data_and_keys_are_kept_over_a_restart(tmp_path: Path) -> None:
    """The same flag, the same key and token; a deleted sample does not come back."""
    with running_dev(tmp_path / "data") as dev:
        first = dev.document
        assert dev.api("POST", "/api/v1/flags/", json=FLAG).status_code == 201
        assert dev.api("DELETE", "/api/v1/flags/hello-matrix").status_code == 204
    with running_dev(tmp_path / "data") as dev:
        assert dev.api("GET", "/api/v1/flags/kept").json()["value"] == "here"
        assert dev.evaluate("kept")["value"] == "here"
        assert dev.api("GET", "/api/v1/flags/hello-matrix").status_code == 404
        assert dev.document["sidecar_key"] == first["sidecar_key"]
        assert dev.document["service_key"] == first["service_key"]
        kinds = [key["kind"] for key in dev.api("GET", "/api/v1/keys").json()["items"]]
        assert sorted(kinds) == ["service", "sidecar"]


def test_keys_that_are_gone_are_made_anew(tmp_path: Path) -> None:
    """Deleted, as one does to see what happens; others stay, whatever networks there are."""
    with running_dev(tmp_path / "data") as dev:
        first = dev.document
        (made,) = (k for k in dev.api("GET", "/api/v1/keys").json()["items"] if k["role"])
        assert first["service_key"].startswith(made["prefix"])
        assert dev.api("DELETE", f"/api/v1/keys/{made['id']}").status_code == 204
    with running_dev(tmp_path / "data") as dev:
        second = dev.document
        assert second["service_key"] != first["service_key"]
        assert second["sidecar_key"] == first["sidecar_key"]
        bearer = {"Authorization": f"Bearer {second['service_key']}"}
        nobody = {"denied_networks": ["0.0.0.0/0", "::/0"]}
        assert dev.api("PATCH", "/api/v1/projects/default", json=nobody).ok
        assert dev.api("GET", "/api/v1/flags", headers=bearer).status_code == 403
    with running_dev(tmp_path / "data") as dev:
        assert dev.document["service_key"] == second["service_key"]
        assert dev.api("GET", "/api/v1/flags").ok


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stops_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Status 0, no process, no port, no dev.json; quickly."""
    with running_dev(tmp_path / "data") as dev:
        processes, ports = family(dev.process.pid), ports_of(dev)
        assert len(processes) >= 4
        assert listens(ports, time.time())
        started = time.monotonic()
        assert stop(dev, number) == 0
        ended = time.time()
        assert time.monotonic() - started < 10
        assert gone(processes, 1)
        assert not listens(ports, ended)
        assert not (tmp_path / "data" / "dev.json").exists()
        assert "Traceback" not in dev.said()


def test_ctrl_c_in_a_terminal_is_a_stop_in_order(tmp_path: Path) -> None:
    """A terminal sends SIGINT to everything in its group; what was shown last is still stored."""
    with running_dev(tmp_path / "data") as dev:
        dev.evaluate("hello-matrix")  # an exposure that is not reported yet
        dev.process.send_signal(signal.SIGINT)
        assert dev.process.wait(30) == 0
    with (
        running_dev(tmp_path / "data") as dev,
        redis.Redis.from_url(dev.document["redis_url"]) as client,
    ):
        assert any(client.scan_iter("mf:exposures:*", _type="stream"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_stops_though_its_terminal_is_gone(tmp_path: Path, number: signal.Signals) -> None:
    """Closing the window, or the end of a pipe it writes to, must not leave it running."""
    data = tmp_path / "data"
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "dev", "--data-dir", data, *FREE_PORTS],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        wait_for_json(data / "dev.json", process, data / "control-plane.log")
        processes = family(process.pid)
        assert process.stdout is not None
        process.stdout.close()
        process.send_signal(number)
        assert process.wait(30) == 0
        assert gone(processes, 5)
    finally:
        process.kill()


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    """Whoever presses Ctrl-C twice means it."""
    with running_dev(tmp_path / "data") as dev:
        processes = family(dev.process.pid)
        for process in processes[1:]:
            if "control_plane.dev.api" in process.cmdline():
                process.suspend()  # it would take long to stop
        sidecar = [p for p in processes[1:] if "proxy" in p.cmdline()]
        assert len(sidecar) == 1
        dev.process.send_signal(signal.SIGTERM)
        assert gone(sidecar, 20)  # it is stopped first; now the control plane is waited for
        started = time.monotonic()
        dev.process.send_signal(signal.SIGTERM)
        dev.process.wait(30)
        assert time.monotonic() - started < 5
        assert gone(processes, 1)


def test_kill_9_leaves_nothing_behind(tmp_path: Path) -> None:
    """No orphan, and the next start works at once, with what was acknowledged."""
    with running_dev(tmp_path / "data") as dev:
        processes, ports = family(dev.process.pid), ports_of(dev)
        assert dev.api("POST", "/api/v1/flags/", json=FLAG).status_code == 201
        dev.process.kill()
        dev.process.wait()
        ended = time.time()
        assert gone(processes, 5)
        assert not listens(ports, ended)
    with running_dev(tmp_path / "data") as dev:
        assert dev.evaluate("kept")["value"] == "here"


@pytest.mark.parametrize("victim", ["valkey-server", "control_plane.dev.api", "proxy"])
def test_a_process_that_ends_by_itself_ends_all_and_is_named(tmp_path: Path, victim: str) -> None:
    """Status 1 and the last lines it wrote, not half a system."""
    with running_dev(tmp_path / "data") as dev:
        processes = family(dev.process.pid)
        for process in processes[1:]:
            if victim in (Path(process.exe()).name, *process.cmdline()):
                process.kill()
        assert dev.process.wait(30) == 1
        assert gone(processes, 1)
        assert "ended by itself, status -9" in dev.said()


@pytest.mark.parametrize("flag", ["--port", "--metrics-port", "--sidecar-port", "--admin-port"])
def test_a_busy_port_is_named_with_its_flag(tmp_path: Path, flag: str) -> None:
    """Before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        done = run_dev("--data-dir", tmp_path / "data", *FREE_PORTS, f"{flag}={port}")
    assert done.returncode == 1
    assert f"port {port} is in use: choose another with {flag}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_second_one_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """And the first goes on."""
    with running_dev(tmp_path / "data") as dev:
        done = run_dev("--data-dir", tmp_path / "data", *FREE_PORTS)
        assert done.returncode == 1
        assert f"another `matrixflag dev` (process {dev.process.pid})" in done.stderr
        assert "Traceback" not in done.stderr
        assert dev.evaluate("hello-matrix")["value"] == "Hello!"
        assert (tmp_path / "data" / "dev.json").exists()


def test_two_on_different_data_do_not_meet(tmp_path: Path) -> None:
    """Each has its own server, keys and flags."""
    with running_dev(tmp_path / "one") as one, running_dev(tmp_path / "two") as two:
        assert one.api("POST", "/api/v1/flags/", json=FLAG).status_code == 201
        assert two.api("GET", "/api/v1/flags/kept").status_code == 404
        assert one.document["sidecar_key"] != two.document["sidecar_key"]


def test_a_redis_of_ones_own_is_used(tmp_path: Path, redis_server: RedisServer) -> None:
    """No server is started, and the flags are there."""
    with running_dev(tmp_path / "data", "--redis-url", redis_server.url) as dev:
        assert dev.document["redis_url"] == redis_server.url
        assert not any("valkey" in p.name() for p in family(dev.process.pid))
        assert dev.evaluate("hello-matrix")["value"] == "Hello!"
        assert "kept in the Redis of --redis-url or REDIS_URL" in dev.said()
    with redis_server.client() as client:
        assert client.exists("mf:{default}:flags")


def test_a_redis_with_flags_gets_no_sample(tmp_path: Path, redis_server: RedisServer) -> None:
    """It may be one that others use; and the key of another Redis is not expected to work."""
    with running_dev(tmp_path / "one", "--redis-url", redis_server.url) as dev:
        assert dev.api("POST", "/api/v1/flags/", json=FLAG).status_code == 201
        assert dev.api("DELETE", "/api/v1/flags/hello-matrix").status_code == 204
    with running_dev(tmp_path / "two", REDIS_URL=redis_server.url) as dev:
        assert dev.api("GET", "/api/v1/flags/hello-matrix").status_code == 404
        assert dev.evaluate("kept")["value"] == "here"
    with running_dev(tmp_path / "two") as dev:
        assert dev.api("GET", "/api/v1/flags/kept").status_code == 404
        assert dev.document["redis_url"].startswith("unix:")


def test_a_redis_that_does_not_answer_is_told(tmp_path: Path) -> None:
    """At once, without its password."""
    url = "redis://:p4ssw0rd@127.0.0.1:1/0"
    done = run_dev("--data-dir", tmp_path / "data", *FREE_PORTS, "--redis-url", url)
    assert done.returncode == 1
    assert "--redis-url" in done.stderr
    assert "p4ssw0rd" not in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_settings_are_all_named(tmp_path: Path) -> None:
    """Status 2, one line each."""
    done = run_dev("--data-dir", tmp_path / "data", "--port", "http", "--admin-port", "70000")
    assert done.returncode == 2
    assert "--port: 'http' is not a whole number" in done.stderr
    assert "--admin-port: '70000' is not between 0 and 65535" in done.stderr


def test_settings_of_the_shell_do_not_turn_it_into_something_else(tmp_path: Path) -> None:
    """A host, a snapshot file or keys for other programs are left out; the rest is passed on."""
    with running_dev(
        tmp_path / "data",
        ADMIN_TOKEN="short",
        MATRIXFLAG_ADMIN_TOKEN_USE="everything",
        MATRIXFLAG_ADMIN_PASSWORD_FILE="/nowhere.password",
        SECRET_KEY_FILE="/nowhere.secret",
        MATRIXFLAG_HOST="203.0.113.1",
        MATRIXFLAG_SNAPSHOT="/nowhere.json",
        MATRIXFLAG_KEY_FILE="/nowhere.key",
        MATRIXFLAG_CORS_ORIGINS="https://shop.example",
    ) as dev:
        assert dev.evaluate("hello-matrix")["value"] == "Hello!"
        answer = requests.options(
            dev.document["sidecar_url"] + "/ofrep/v1/evaluate/flags/hello-matrix",
            headers={
                "Origin": "https://shop.example",
                "Access-Control-Request-Method": "POST",
            },
            timeout=10,
        )
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"


def test_a_directory_named_proxy_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Users stand in directories of their own when they start it."""
    (tmp_path / "proxy").mkdir()
    (tmp_path / "proxy" / "__init__.py").write_text("raise SystemExit('not ours')")
    matrixflag = Path(sys.executable).with_name("matrixflag")
    process = subprocess.Popen(
        [matrixflag, "dev", "--data-dir", "data", *FREE_PORTS],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "Matrix Flag is running" in process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_its_memory_of_secrets_is_private(tmp_path: Path) -> None:
    """Everything in the data directory is readable by its user alone, secrets are in no log."""
    before = os.umask(0)
    try:
        with running_dev(tmp_path / "data") as dev:
            secrets = [dev.document[n] for n in ("sidecar_key", "service_key", "admin_password")]
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    for log in (tmp_path / "data").rglob("*.log"):
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        assert not any(secret in log.read_text() for secret in secrets)
    assert not any(secret in dev.said() for secret in secrets)

"""docs/access.md from nothing: its commands are run against a control plane as it is by default."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyotp
import pytest
import requests

from tests.support.processes import running, wait_for_json
from tests.support.redis import RedisServer
from tests.support.reference import DOCS

TOKEN, SECRET = secrets.token_hex(16), secrets.token_hex(32)
PASSWORD = "correct horse battery"  # as the page has it
_CHAPTER = re.compile(r"^## The first administrator\n(.*?)^### ", re.MULTILINE | re.DOTALL)
_WAIT_S = 30


@contextmanager
def control_plane(redis_url: str, directory: Path, **environ: str) -> Iterator[dict[str, str]]:
    """Run one as a person starts it, with nobody's settings but these; yield where it answers."""
    ready, log = directory / "ready.json", directory / "control-plane.log"
    ready.unlink(missing_ok=True)
    command = ["control-plane", "--port=0", "--metrics-port=0", f"--ready-file={ready}"]
    given = {"REDIS_URL": redis_url, "ADMIN_TOKEN": TOKEN, "SECRET_KEY": SECRET, **environ}
    with running([*command, "--redis-timeout-s=10"], log, given) as process:
        yield wait_for_json(ready, process, log)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where somebody stands who has the password in a file."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return tmp_path


def paste(directory: Path, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run what somebody pastes into a shell."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-e", "-c", script],
        env={"PATH": path, "ADMIN_TOKEN": TOKEN, **environ},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def create(directory: Path, url: str, email: str) -> subprocess.CompletedProcess[str]:
    """Make an administrator with the token."""
    script = f"matrixflag admin create --email {email} --password-file password"
    return paste(directory, script, MATRIXFLAG_URL=url, MATRIXFLAG_TOKEN=TOKEN)


def ask(url: str, path: str, **options: Any) -> requests.Response:
    """Ask with the token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    method = "POST" if options else "GET"
    return requests.request(method, url + path, headers=headers, timeout=_WAIT_S, **options)


def log_in(url: str, email: str) -> int:
    """Return how a login is answered."""
    body = {"email": email, "password": PASSWORD}
    return requests.post(f"{url}/api/v1/auth/login", json=body, timeout=_WAIT_S).status_code


def test_the_story_of_the_page_is_true(redis_url: str, directory: Path) -> None:
    """From an empty Redis to a pipeline that changes flags; in one shell, as it is read."""
    found = _CHAPTER.search((DOCS / "access.md").read_text())
    assert found is not None
    blocks = re.findall(r"^```sh\n(.*?)^```", found[1], re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    script = "\n".join(blocks)
    asks = "   # asks for a password"
    assert script.count(asks) == 1
    with control_plane(redis_url, directory) as at:
        url = at["api"]
        script = script.replace(asks, " --password-file password")
        script = script.replace("http://localhost:8000", url)
        done = paste(directory, script)
        assert done.returncode == 0, (done.stdout, done.stderr)
        lines = done.stdout.splitlines()
        assert lines[0] == "ada@example.com is an administrator of all projects"
        assert "flags: 0 created, 0 changed, 1 unchanged" in done.stdout
        assert "shop/production: revision 2" in done.stdout
        assert re.fullmatch(r"OK: \d+ entries of project '~access', .*", lines[-1])
        exported = json.loads((directory / "flags.json").read_text())
        assert [flag["key"] for flag in exported["flags"]] == ["new-checkout"]
    log = (directory / "control-plane.log").read_text()
    assert "there is no administrator of all projects: `matrixflag admin create" in log
    assert TOKEN not in log + done.stdout + done.stderr
    assert PASSWORD not in log + done.stdout + done.stderr


def test_who_has_a_second_factor_logs_in_in_two_steps(redis_url: str, directory: Path) -> None:
    """The lines of the page for one do not do, as it says; those that it has beside do."""
    found = _CHAPTER.search((DOCS / "access.md").read_text())
    assert found is not None
    (two_steps,) = re.findall(r"^```bash\n(.*?)^```", found[1], re.MULTILINE | re.DOTALL)
    one_step = next(
        block.partition("\ncurl")[0]
        for block in re.findall(r"^```sh\n(.*?)^```", found[1], re.MULTILINE | re.DOTALL)
        if block.startswith("ACCESS=")
    )
    with control_plane(redis_url, directory) as at:
        url = at["api"]
        assert create(directory, url, "ada@example.com").returncode == 0
        said = paste(directory, f'{one_step}\necho "$ACCESS"', MATRIXFLAG_URL=url)
        headers = {"Authorization": f"Bearer {said.stdout.strip()}"}
        factors = f"{url}/api/v1/me/factors/totp"
        began = requests.post(factors, headers=headers, timeout=_WAIT_S).json()
        app, now = pyotp.TOTP(began["secret"]), int(time.time())
        body = {"challenge": began["challenge"], "code": app.at(now)}
        done = requests.post(f"{factors}/confirm", json=body, headers=headers, timeout=_WAIT_S)
        assert done.status_code == 200
        refused = paste(directory, one_step, MATRIXFLAG_URL=url)
        assert refused.returncode != 0
        assert "KeyError: 'access_token'" in refused.stderr
        assert two_steps.count("123456") == 1
        script = two_steps.replace("123456", app.at(now + 30))  # each code is good once
        said = paste(directory, f'{script}\necho "$ACCESS"', MATRIXFLAG_URL=url)
        assert said.returncode == 0, said.stderr
        headers = {"Authorization": f"Bearer {said.stdout.strip()}"}
        me = requests.get(f"{url}/api/v1/me", headers=headers, timeout=_WAIT_S)
        assert me.json()["factors"] == ["totp"]


def test_who_gets_in_no_more_gets_in_again(redis_url: str, directory: Path) -> None:
    """The token opens everything for as long as the settings say so, which the log tells."""
    log = directory / "control-plane.log"
    with control_plane(redis_url, directory) as at:
        url = at["api"]
        assert create(directory, url, "ada@example.com").returncode == 0
        refused = create(directory, url, "bob@example.com")
        assert refused.returncode == 1
        assert "answers 409: there is an administrator already" in refused.stderr
        fleet = paste(directory, "matrixflag fleet", MATRIXFLAG_URL=url, MATRIXFLAG_TOKEN=TOKEN)
        assert fleet.returncode == 2
        assert "makes the first administrator and nothing else" in fleet.stderr
        assert "MATRIXFLAG_TOKEN" not in fleet.stderr  # it was given, and read
        assert log_in(url, "bob@example.com") == 401
    assert "MATRIXFLAG_ADMIN_TOKEN_USE" not in log.read_text()
    everything = {"MATRIXFLAG_ADMIN_TOKEN_USE": "everything"}
    with control_plane(redis_url, directory, **everything) as at:
        metrics = requests.get(at["metrics"] + "/metrics", timeout=_WAIT_S).text
        assert "matrixflag_admin_token_everything 1.0" in metrics
        assert create(directory, at["api"], "bob@example.com").returncode == 0
        assert ask(at["api"], "/api/v1/projects", json={"key": "shop"}).status_code == 201
    assert "whoever has ADMIN_TOKEN may do everything" in log.read_text()
    with control_plane(redis_url, directory) as at:
        assert ask(at["api"], "/api/v1/users").json()["code"] == "first_admin_only"
        assert log_in(at["api"], "bob@example.com") == 200


def test_without_the_token_people_and_keys_go_on(redis_url: str, directory: Path) -> None:
    """It is taken from the settings once there is an administrator, beyond loopback too."""
    with control_plane(redis_url, directory) as at:
        assert create(directory, at["api"], "ada@example.com").returncode == 0
    with control_plane(redis_url, directory, ADMIN_TOKEN="", MATRIXFLAG_HOST="0.0.0.0") as at:
        assert log_in(at["api"], "ada@example.com") == 200
        assert create(directory, at["api"], "bob@example.com").returncode == 1
        assert ask(at["api"], "/api/v1/flags").status_code == 401


def test_a_replica_with_the_same_settings_makes_no_second_one(
    redis_server: RedisServer, directory: Path
) -> None:
    """Two that start at once from the same manifest, with an address and a password in it."""
    (directory / "other").mkdir()
    named = {
        "MATRIXFLAG_ADMIN_EMAIL": "ada@example.com",
        "MATRIXFLAG_ADMIN_PASSWORD": PASSWORD,
        "MATRIXFLAG_ADMIN_TOKEN_USE": "everything",  # to look at who there is
    }
    deadline = time.monotonic() + _WAIT_S
    with (
        control_plane(redis_server.url, directory, **named) as one,
        control_plane(redis_server.url, directory / "other", **named) as other,
    ):
        for at in (one, other):
            while not (people := ask(at["api"], "/api/v1/users").json()["items"]):
                assert time.monotonic() < deadline
            assert [person["email"] for person in people] == ["ada@example.com"]
        assert log_in(other["api"], "ada@example.com") == 200
    for log in (directory / "control-plane.log", directory / "other" / "control-plane.log"):
        assert "Traceback" not in log.read_text()
        assert " ERROR " not in log.read_text()

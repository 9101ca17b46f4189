"""Whatever the programs are told, and whatever goes wrong: no secret is in what they write.

Real programs at their most talkative go through all that has to do with secrets, the mistakes
that people make with them included. Then everything they wrote is searched for every secret there
was, also percent-encoded and in base64: logs, answers for operators, the audit logs.
"""

import base64
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyotp
import pytest
import requests

from tests.support.certificates import Authority
from tests.support.processes import ROOT, Sidecar, running, running_sidecar, wait_for_json
from tests.support.redis import RedisServer
from tests.support.signing import signing_key
from tests.support.slapd import BASE, LDAP_PASSWORD, SEARCH_PASSWORD, SEARCHER, Slapd

WAIT_S = 30
EMAIL = "ada@example.com"


class Story:
    """A control plane, what was asked of it, and every secret that came up."""

    def __init__(self, url: str, admin_token: str) -> None:
        self.url = url
        self.secrets: dict[str, str] = {}
        self.admin = admin_token

    def keep(self, name: str, secret: str) -> str:
        """Remember a secret under a name, and return it."""
        self.secrets[name] = secret
        return secret

    def ask(
        self,
        method: str,
        path: str,
        document: object = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """Send a request, as the administrator unless a token is given."""
        sent = {"Authorization": f"Bearer {self.admin if token is None else token}"}
        return requests.request(
            method,
            self.url + path,
            json=document,
            headers={**sent, **(headers or {})},
            timeout=WAIT_S,
        )

    def key(self, kind: str, **members: str) -> str:
        """Make a key of a kind."""
        answer = self.ask("POST", "/api/v1/keys", {"kind": kind, **members})
        assert answer.status_code == 201, answer.text
        return self.keep(f"{kind} key", answer.json()["key"])


def forms(secret: str) -> Iterator[bytes]:
    """Yield how a secret may be written."""
    raw = secret.encode()
    yield raw
    yield quote(secret, safe="").encode()
    yield base64.b64encode(raw).rstrip(b"=")
    yield base64.urlsafe_b64encode(raw).rstrip(b"=")
    yield json.dumps(secret)[1:-1].encode()


def people_log_in_and_make_mistakes(story: Story) -> None:
    """Log in, go on, be invited; with wrong passwords, used tokens and secrets in wrong places."""
    password = story.keep("password", "pass phrase + " + secrets.token_hex(8))
    credentials = {"email": EMAIL, "password": password}
    made = story.ask(
        "POST", "/api/v1/users", {**credentials, "roles": [{"role": "viewer", "project": "*"}]}
    )
    assert made.status_code == 201, made.text
    wrong = story.keep("wrong password", "wrong phrase " + secrets.token_hex(8))
    failed = story.ask("POST", "/api/v1/auth/login", {**credentials, "password": wrong})
    assert failed.status_code == 401
    story.ask("POST", "/api/v1/auth/login", {"email": wrong, "password": {"a": password}})
    tokens = story.ask("POST", "/api/v1/auth/login", credentials).json()
    access = story.keep("access token", tokens["access_token"])
    first = story.keep("refresh token", tokens["refresh_token"])
    for name in ("second refresh token", "third refresh token"):
        tokens = story.ask(
            "POST", "/api/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]}
        ).json()
        story.keep(name, tokens["refresh_token"])
    stolen = story.ask("POST", "/api/v1/auth/refresh", {"refresh_token": first})
    assert stolen.status_code == 401
    invited = story.ask("POST", "/api/v1/users", {"email": "bob@example.com"}).json()
    invitation = story.keep("invitation", invited["invitation"])
    chosen = story.keep("chosen password", "chosen phrase " + secrets.token_hex(8))
    story.ask("POST", "/api/v1/auth/accept", {"invitation": "x" + invitation, "password": chosen})
    taken = {"invitation": invitation, "password": chosen}
    assert story.ask("POST", "/api/v1/auth/accept", taken).status_code == 200
    for secret in (access, first, story.admin):
        in_wrong_places(story, secret)
    a_second_factor_is_set_up_and_shown(story, credentials)


def people_of_ldap_log_in(story: Story, slapd: Slapd) -> None:
    """With passwords that are right, wrong, in the place of a name, and while it is away."""
    login = "/api/v1/auth/login"
    story.keep("password of who searches", SEARCH_PASSWORD)
    right = story.keep("password in LDAP", LDAP_PASSWORD)
    wrong = story.keep("wrong password of LDAP", "wrong in LDAP " + secrets.token_hex(8))
    for name, password, status in (
        ("carol", right, 200),
        ("carol", wrong, 401),
        ("ada", right, 403),
        (right, right, 401),
        (f"carol*)({wrong}", wrong, 401),
    ):
        answer = story.ask("POST", login, {"email": name, "password": password})
        assert answer.status_code == status, answer.text
    slapd.kill()
    answer = story.ask("POST", login, {"email": "carol", "password": right})
    assert answer.json()["code"] == "ldap_unavailable"


def a_second_factor_is_set_up_and_shown(story: Story, credentials: dict[str, str]) -> None:
    """An authenticator app, whose secret and recovery codes are used well and badly."""
    login, verify = "/api/v1/auth/login", "/api/v1/auth/verify"
    token = story.keep(
        "another access token", story.ask("POST", login, credentials).json()["access_token"]
    )
    begun = story.ask("POST", "/api/v1/me/factors/totp", token=token).json()
    enrolment = story.keep("enrolment", begun["challenge"])
    totp = pyotp.TOTP(story.keep("secret of an app", begun["secret"]))
    body = {"challenge": enrolment, "code": totp.now()}
    added = story.ask("POST", "/api/v1/me/factors/totp/confirm", body, token)
    assert added.status_code == 200, added.text
    for number, code in enumerate(added.json()["recovery_codes"]):
        story.keep(f"recovery code {number}", code)
    challenge = story.keep("challenge", story.ask("POST", login, credentials).json()["challenge"])
    recovery = story.secrets["recovery code 0"]
    for answer in ({"code": recovery}, {"recovery_code": recovery}, {"recovery_code": recovery}):
        story.ask("POST", verify, {"challenge": challenge, **answer})
    for secret in (enrolment, challenge):
        in_wrong_places(story, secret)


def in_wrong_places(story: Story, secret: str) -> None:
    """Send a secret where none belongs."""
    place = quote(secret, safe="")
    assert story.ask("GET", f"/api/v1/flags/{place}").status_code == 404
    assert story.ask("GET", f"/{place}").status_code == 404
    assert story.ask("GET", f"/api/v1/flags?token={place}").status_code == 400
    story.ask("GET", f"/api/v1/flags?cursor={place}")
    story.ask("GET", "/api/v1/flags", token=secret + "x")
    story.ask("GET", "/api/v1/flags", headers={"X-Request-Id": secret[:64]}, token="wrong")
    story.ask("POST", "/api/v1/flags", {secret: secret})


def keys_are_made_used_and_revoked(story: Story) -> str:
    """Make a key of each kind, use them well and badly, and return the sidecar's."""
    made = {kind: story.key(kind) for kind in ("sidecar", "server", "client")}
    made["service"] = story.key("service", role="admin")
    for key in made.values():
        story.ask("GET", "/api/v1/flags", token=key)
        story.ask("GET", "/api/v1/sync/snapshot", token=key)
        in_wrong_places(story, key)
    for record in story.ask("GET", "/api/v1/keys").json()["items"]:
        if record["kind"] == "service":
            story.ask("DELETE", f"/api/v1/keys/{record['id']}")
    assert story.ask("GET", "/api/v1/flags", token=made["service"]).status_code == 401
    flag = {"key": "a", "type": "boolean", "value": True, "enabled": True}
    assert story.ask("POST", "/api/v1/flags", {**flag, "track": True}).status_code == 201
    return made["sidecar"]


def a_sidecar_is_asked(story: Story, sidecar: Sidecar) -> bytes:
    """Evaluate with good and with wrong keys, and return what operators are shown."""
    path = f"{sidecar.ofrep}/ofrep/v1/evaluate/flags/a"
    for key in (story.secrets["server key"], story.secrets["client key"], story.admin, "wrong"):
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
            context = {"context": {"targetingKey": "unit"}}
            requests.post(path, json=context, headers=headers, timeout=WAIT_S)
            requests.post(f"{path}/{quote(key, safe='')}", headers=headers, timeout=WAIT_S)
    shown = [
        requests.get(sidecar.admin + path, timeout=WAIT_S).content
        for path in ("/statusz", "/metrics", "/readyz")
    ]
    return b"\n".join(shown)


def settings_are_wrong(directory: Path, environ: dict[str, str]) -> bytes:
    """Start with values that cannot be used, and return what is said of them."""
    said = b""
    for command in ("control-plane", "proxy"):
        done = subprocess.run(
            [sys.executable, "-m", "proxy", command],
            env=environ,
            cwd=ROOT,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        said += done.stdout + done.stderr
    return said


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_secret_is_in_anything_that_is_written(tmp_path: Path, style: str) -> None:
    """After a story that uses each of them, well and badly."""
    story = Story("", secrets.token_urlsafe(24))
    story.keep("ADMIN_TOKEN", story.admin)
    secret_key = story.keep("SECRET_KEY", secrets.token_hex(32))
    redis_password = story.keep("password of Redis", 'p@ss/w"or%d:' + secrets.token_hex(8))
    unit_hash_key = story.keep("unit hash key", secrets.token_hex(16))
    signing = signing_key(style)
    story.keep("signing key", signing.private())
    log, ready = tmp_path / "control-plane.log", tmp_path / "ready.json"
    talkative = ["--log-level=debug", f"--log-format={style}"]
    slapd = Slapd(tmp_path / "slapd", Authority(tmp_path, "authority"))
    with slapd, RedisServer() as redis:
        with redis.client() as client:
            client.acl_setuser(
                "matrix", enabled=True, passwords="+" + redis_password, keys="*", commands=["+@all"]
            )
        url = redis.url.replace("://", f"://matrix:{quote(redis_password, safe='')}@")
        environ = {
            "ADMIN_TOKEN": story.admin,
            "MATRIXFLAG_ADMIN_TOKEN_USE": "everything",
            "SECRET_KEY": secret_key,
            "REDIS_URL": url,
            "MATRIXFLAG_SIGNING_KEYS": signing.private(),
            "MATRIXFLAG_LDAP_URL": slapd.tls_url,
            "MATRIXFLAG_LDAP_CA_FILE": str(slapd.ca),
            "MATRIXFLAG_LDAP_BASE_DN": BASE,
            "MATRIXFLAG_LDAP_BIND_DN": SEARCHER,
            "MATRIXFLAG_LDAP_BIND_PASSWORD": SEARCH_PASSWORD,
            "MATRIXFLAG_LDAP_ROLES": "devs=viewer,by-login=viewer",
        }
        command = ["control-plane", "--port=0", "--metrics-port=0", f"--ready-file={ready}"]
        with running([*command, *talkative], log, environ) as process:
            addresses = wait_for_json(ready, process, log)
            story.url = addresses["api"]
            people_log_in_and_make_mistakes(story)
            people_of_ldap_log_in(story, slapd)
            key = keys_are_made_used_and_revoked(story)
            sidecar_environ = {
                "MATRIXFLAG_CONTROL_PLANE_URL": story.url,
                "MATRIXFLAG_KEY": key,
                "MATRIXFLAG_UNIT_HASH_KEY": unit_hash_key,
            }
            with running_sidecar(tmp_path, *talkative, environ=sidecar_environ) as sidecar:
                shown = a_sidecar_is_asked(story, sidecar)
            for project in ("default", "~access", "~refused"):
                exported = story.ask("GET", f"/api/v1/audit/export?project={project}")
                assert exported.status_code == 200
                shown += exported.content
            shown += requests.get(addresses["metrics"] + "/metrics", timeout=WAIT_S).content
            with redis.client() as client:  # a wrong password from now on
                client.acl_setuser("matrix", reset_passwords=True, passwords="+another")
                client.client_kill_filter(_type="normal", skipme=True)
            assert story.ask("POST", "/api/v1/projects", {"key": "p"}).status_code == 503
    wrong = {
        "ADMIN_TOKEN": story.keep("bad token", "spaces are not " + secrets.token_hex(8)),
        "SECRET_KEY": story.keep("short secret", secrets.token_hex(8)),
        "REDIS_URL": f"redis://matrix:{quote(redis_password, safe='')}@host:port",
        "MATRIXFLAG_SIGNING_KEYS": story.keep("bad signing key", "x" + signing.private()),
        "MATRIXFLAG_KEY": story.keep("bad key", key[:-1]),
        "MATRIXFLAG_LDAP_URL": f"ldaps://ada:{LDAP_PASSWORD.replace(' ', '%20')}@ldap.example.com",
        "MATRIXFLAG_LDAP_BIND_PASSWORD": SEARCH_PASSWORD,
    }
    shown += settings_are_wrong(tmp_path, wrong)
    logs = {path.name: path.read_bytes() for path in tmp_path.glob("*.log")}
    assert set(logs) == {"control-plane.log", "sidecar.log"}
    assert b"/api/v1/flags" in logs["control-plane.log"]
    for name, text in {**logs, "answers": shown}.items():
        found = [
            secret for secret, value in story.secrets.items() for f in forms(value) if f in text
        ]
        assert found == [], name

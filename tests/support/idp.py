"""A real OpenID Connect provider, Canaille, as a process of its own on loopback.

    python -m tests.support.idp PORT REDIRECT_URI

It knows Ada, of the group flag-admins, and Bob, of none, both with the same password, and one
client. It writes a line once it listens. `running_idp` runs it for a test.
"""

import datetime
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "IDP_PASSWORD", "running_idp"]

CLIENT_ID, CLIENT_SECRET = "matrix-flag", "a secret: with %, + and a colon"
IDP_PASSWORD = "correct horse battery"
_READY = b"listening"
_STOP_S = 10


@contextmanager
def running_idp(port: int, redirect_uri: str, log: Path) -> Iterator[str]:
    """Run the provider, and yield its issuer."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.idp", str(port), redirect_uri],
            cwd=Path(__file__).parent.parent.parent,
            env={**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != _READY:
            raise RuntimeError(f"the provider did not start\n{log.read_text()[-4000:]}")
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(_STOP_S)
        assert process.stdout is not None
        process.stdout.close()


def _main(port: int, redirect_uri: str) -> None:
    import wsgiref.simple_server

    from canaille import create_app
    from canaille.app import models
    from canaille.backends import Backend
    from joserfc.jwk import JWKRegistry

    key = JWKRegistry.generate_key("RSA", 2048)
    key.ensure_kid()
    app = create_app(
        config={
            "ENV_FILE": None,
            "SECRET_KEY": str(uuid.uuid4()),
            "WTF_CSRF_ENABLED": False,
            "PREFERRED_URL_SCHEME": "http",
            "SERVER_NAME": f"localhost:{port}",
            "CANAILLE": {
                "DATABASE": "memory",
                "JAVASCRIPT": False,
                "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc"]}},
            },
            "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
        }
    )
    with app.app_context():
        people = {}
        for name in ("ada", "bob"):
            people[name] = models.User(
                user_name=name,
                formatted_name=name.title(),
                family_name=name.title(),
                emails=[f"{name}@example.com"],
                password=IDP_PASSWORD,
            )
            Backend.instance.save(people[name])
        Backend.instance.save(models.Group(display_name="flag-admins", members=[people["ada"]]))
        client = models.Client(
            client_id=CLIENT_ID,
            client_name="Matrix Flag",
            client_uri="https://127.0.0.1",  # whom it trusts, so that nobody is asked to consent
            client_secret=CLIENT_SECRET,
            client_id_issued_at=datetime.datetime.now(datetime.UTC),
            redirect_uris=[redirect_uri],
            grant_types=["authorization_code"],
            response_types=["code"],
            scope=["openid", "email", "profile", "groups"],
            token_endpoint_auth_method="client_secret_basic",
        )
        Backend.instance.save(client)
        client.audience = [client]  # known only once it was saved
        Backend.instance.save(client)
    server = wsgiref.simple_server.make_server("localhost", port, app)
    sys.stdout.write(_READY.decode() + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2])

"""Tests of the settings: the mission's names, all problems at once, secrets unseen."""

import argparse
from pathlib import Path

import pytest

from control_plane.access.roles import Role
from control_plane.settings import Settings
from proxy.cli import main
from proxy.contract.parsers import is_loopback
from proxy.contract.settings import SettingsError, add_arguments, read, rows
from tests.support.signing import signing_key

TOKEN = "0123456789abcdef"
SECRET = "0123456789abcdef" * 2
PASSWORD = "correct horse battery"


def test_the_defaults_are_safe() -> None:
    """Loopback, closed to other origins, no token, no dev mode."""
    settings = read(Settings, {}, {})
    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 8000, 8001)
    assert settings.redis_url == "redis://localhost:6379"
    assert settings.cors_origins == ()
    assert settings.admin_token == ""
    assert not settings.dev


def test_the_names_of_the_mission_are_read() -> None:
    """`REDIS_URL`, `ADMIN_TOKEN` and `METRICS_PORT` have no prefix."""
    environ = {
        "REDIS_URL": "rediss://user:secret@redis:6380/2",
        "EXPOSURES_REDIS_URL": "unix:///run/redis.sock",
        "ADMIN_TOKEN": TOKEN,
        "METRICS_PORT": "9000",
        "MATRIXFLAG_PORT": "0",
        "MATRIXFLAG_CORS_ORIGINS": "https://a.example, http://localhost:3000",
    }
    settings = read(Settings, environ, {})
    assert settings.redis_url == environ["REDIS_URL"]
    assert settings.metrics_port == 9000
    assert settings.port == 0
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")


def test_all_problems_are_listed_by_name() -> None:
    """One run tells everything that is wrong."""
    environ = {
        "REDIS_URL": "http://user:hunter2@x",
        "ADMIN_TOKEN": "short",
        "MATRIXFLAG_PORT": "70000",
        "MATRIXFLAG_MAX_BODY_BYTES": "1GB",
        "MATRIXFLAG_BODY_TIMEOUT_S": "nan",
        "MATRIXFLAG_CORS_ORIGINS": "https://a.example/path",
        "MATRIXFLAG_LOG_LEVEL": "loud",
        "MATRIXFLAG_LOG_FORMAT": "xml",
        "MATRIXFLAG_REDIS_MAX_CONNECTIONS": "0",
        "MATRIXFLAG_SYNC_MAX_STREAMS": "0",
        "MATRIXFLAG_SYNC_STREAMS_PER_S": "-1",
        "MATRIXFLAG_SYNC_STREAM_LIFE_S": "an hour",
    }
    with pytest.raises(SettingsError) as caught:
        read(Settings, environ, {})
    assert {problem.partition(":")[0] for problem in caught.value.problems} == set(environ)
    assert "hunter2" not in str(caught.value)
    assert "short" not in str(caught.value)


def test_files_and_contradictions_are_listed_too(tmp_path: Path) -> None:
    """At once with what cannot be parsed, and nothing that only follows from it."""
    environ = {
        "ADMIN_TOKEN": "short",
        "MATRIXFLAG_HOST": "0.0.0.0",
        "MATRIXFLAG_OIDC_CLIENT_SECRET_FILE": str(tmp_path),
        "MATRIXFLAG_SIGNING_KEYS_FILE": str(tmp_path / "none"),
        "METRICS_PORT": "8000",
    }
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ, {})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "ADMIN_TOKEN",
        f"--signing-keys-file {tmp_path / 'none'}",
        f"--oidc-client-secret-file {tmp_path}",
        "METRICS_PORT",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2/x@host:6379",
        "redis://user:hunter2\u2100@host",
        "redis://user:hunter2[@host",
        "redis://:hunter2@host:99999",
        "redis://:hunter2@host?db=x",
        "redis://:hunter2@host?unknown=1",
        "redis://",
        "unix://",
    ],
)
def test_an_address_of_redis_that_makes_no_sense_is_refused_and_not_repeated(url: str) -> None:
    """Before anything starts; not as a trace with half of the password in it."""
    with pytest.raises(SettingsError, match="REDIS_URL") as caught:
        read(Settings, {"REDIS_URL": url}, {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "flags.example.com", "::"])
def test_where_nobody_can_log_in_only_loopback_is_listened_on(host: str) -> None:
    """Anybody on the network would be the administrator otherwise, or nobody."""
    with pytest.raises(SettingsError, match=r"SECRET_KEY.*ADMIN_TOKEN"):
        read(Settings, {"MATRIXFLAG_HOST": host}, {})
    for name, value in (
        ("ADMIN_TOKEN", TOKEN),
        ("SECRET_KEY", SECRET),
        ("SECRET_KEY_FILE", "/run/secrets/key"),
    ):
        assert read(Settings, {"MATRIXFLAG_HOST": host, name: value}, {}).host == host


def test_the_token_opens_everything_only_when_that_is_said() -> None:
    """In one of two words; and where there is a token to be used."""
    environ = {"ADMIN_TOKEN": TOKEN}
    assert read(Settings, environ, {}).admin_token_use == "first-admin"
    environ["MATRIXFLAG_ADMIN_TOKEN_USE"] = "Everything"
    assert read(Settings, environ, {}).admin_token_use == "everything"
    for text in ("true", "all", "first admin", "everything "):
        environ["MATRIXFLAG_ADMIN_TOKEN_USE"] = text
        with pytest.raises(SettingsError, match="is not one of first-admin, everything"):
            read(Settings, environ, {})
    with pytest.raises(SettingsError, match="MATRIXFLAG_ADMIN_TOKEN_USE: everything needs"):
        read(Settings, {"MATRIXFLAG_ADMIN_TOKEN_USE": "everything"}, {})


def test_dev_mode_can_be_had_by_no_variable_and_no_flag() -> None:
    """Only `matrixflag dev` sets it."""
    assert "dev" not in {row.field for row in rows(Settings)}
    parser = argparse.ArgumentParser()
    add_arguments(parser, Settings)
    assert not hasattr(parser.parse_args([]), "dev")


def test_dev_mode_listens_on_loopback_alone() -> None:
    """Also with a token: without a credential a local request is an administrator's."""
    with pytest.raises(SettingsError, match="dev mode"):
        Settings(dev=True, host="0.0.0.0", admin_token=TOKEN)


def test_one_port_for_two_servers_is_a_problem() -> None:
    """It would be found out only when the second one listens."""
    with pytest.raises(SettingsError) as caught:
        Settings(port=8001)
    assert len(caught.value.problems) == 1
    assert "METRICS_PORT" in caught.value.problems[0]


def test_secrets_are_not_shown() -> None:
    """Neither in repr nor as command-line flags, which other users can see."""
    settings = Settings(admin_token=TOKEN, redis_url="redis://:hunter2@x")
    assert TOKEN not in repr(settings)
    assert "hunter2" not in repr(settings)
    parser = argparse.ArgumentParser(allow_abbrev=False)  # as the command's is
    add_arguments(parser, Settings)
    with pytest.raises(SystemExit):
        parser.parse_args(["--admin-token", "x"])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("localhost.example.com", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_loopback_is_told_by_address_not_by_prefix(host: str, expected: bool) -> None:
    """A name that merely begins like it is somebody else's."""
    assert is_loopback(host) is expected


def test_signing_keys_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    """One a line, and nothing that is printed of the settings shows them."""
    one, two = signing_key("one").private(), signing_key("two").private()
    file = tmp_path / "keys"
    file.write_text(f"{one}\n{two}\n")
    for settings in (
        Settings.load({"MATRIXFLAG_SIGNING_KEYS": f"{one},{two}"}, {}),
        Settings.load({}, {"signing_keys_file": str(file)}),
    ):
        ids = [key.id for key in settings.signing_keys]
        assert ids == [signing_key("one").id, signing_key("two").id]
        assert one.removeprefix("mf_signing_") not in repr(settings)


def test_what_is_wrong_with_signing_keys_is_told(tmp_path: Path) -> None:
    """By the setting's name, without the key."""
    file = tmp_path / "keys"
    file.write_text("s3cret")
    for environ, args, says in (
        ({"MATRIXFLAG_SIGNING_KEYS": "s3cret"}, {}, "MATRIXFLAG_SIGNING_KEYS: its key 1"),
        ({}, {"signing_keys_file": str(file)}, "--signing-keys-file"),
        ({}, {"signing_keys_file": str(tmp_path / "none")}, "No such file"),
        (
            {"MATRIXFLAG_SIGNING_KEYS": signing_key("one").private()},
            {"signing_keys_file": str(file)},
            "exclude each other",
        ),
    ):
        with pytest.raises(SettingsError) as caught:
            Settings.load(environ, args)
        assert says in str(caught.value)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("REQUIRE_SECOND_FACTOR", "admin,owner", "viewer, manager, admin"),
        ("PUBLIC_URL", "http://flags.example.com", "not https"),
        ("PUBLIC_URL", "flags.example.com", "origin"),
        ("PUBLIC_URL", "*", "one address"),
        ("PUBLIC_URL", "https://a.example.com,https://b.example.com", "one address"),
        ("PUBLIC_URL", "https://flags.example.com/path", "origin"),
    ],
)
def test_what_second_factors_cannot_go_by_is_refused(variable: str, text: str, said: str) -> None:
    """A role that there is not, and a page that browsers keep no passkeys for."""
    with pytest.raises(SettingsError, match=said):
        read(Settings, {f"MATRIXFLAG_{variable}": text}, {})


def test_second_factors_are_set_as_one_writes_them() -> None:
    """With blanks, capitals, a slash at the end; on this machine without TLS."""
    given = {"MATRIXFLAG_REQUIRE_SECOND_FACTOR": "Admin, manager"}
    for url in ("https://Flags.example.com/", "http://localhost:8000"):
        made = read(Settings, {**given, "MATRIXFLAG_PUBLIC_URL": url}, {})
        assert made.require_second_factor == (Role.ADMIN, Role.MANAGER)
        assert made.public_url == url.lower().rstrip("/")


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    """As Kubernetes and others mount them, with the end of line that editors leave."""
    key, password, client = (tmp_path / name for name in ("key", "password", "client"))
    key.write_text(f"{SECRET},{SECRET[::-1]}\n")
    password.write_text(f" {PASSWORD} \r\n")
    client.write_text(" s3cret \n")
    environ = {
        "SECRET_KEY_FILE": str(key),
        "MATRIXFLAG_ADMIN_EMAIL": "ada@example.com",
        "MATRIXFLAG_ADMIN_PASSWORD_FILE": str(password),
        "MATRIXFLAG_OIDC_CLIENT_SECRET_FILE": str(client),
    }

    made = Settings.load(environ, {})

    assert made.secret_key == (SECRET, SECRET[::-1])
    assert made.admin_password == f" {PASSWORD} "
    assert made.oidc_client_secret == "s3cret"
    assert not [secret for secret in (SECRET, PASSWORD, "s3cret") if secret in repr(made)]


def test_all_that_is_wrong_with_files_of_secrets_is_told_at_once(tmp_path: Path) -> None:
    """Each by its setting; nothing of what they hold."""
    short, empty, binary = (tmp_path / name for name in ("short", "empty", "binary"))
    short.write_text("hunter2")
    empty.write_text("\n")
    binary.write_bytes(b"\xff")
    files = {
        "SECRET_KEY_FILE": short,
        "MATRIXFLAG_ADMIN_PASSWORD_FILE": empty,
        "MATRIXFLAG_OIDC_CLIENT_SECRET_FILE": binary,
        "MATRIXFLAG_SIGNING_KEYS_FILE": tmp_path / "none",
    }
    environ = {name: str(path) for name, path in files.items()}

    with pytest.raises(SettingsError) as caught:
        Settings.load({**environ, "MATRIXFLAG_ADMIN_EMAIL": "ada@example.com"}, {})

    said = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    for text in ("32 characters", "is empty", "does not hold text", "No such file"):
        assert text in said
    assert "hunter2" not in said


def test_a_bad_password_in_a_file_is_refused_like_any(tmp_path: Path) -> None:
    """Its rules are the same; one that is missing is asked for."""
    file = tmp_path / "password"
    file.write_text("short")
    environ = {"MATRIXFLAG_ADMIN_PASSWORD_FILE": str(file)}

    with pytest.raises(SettingsError, match="MATRIXFLAG_ADMIN_PASSWORD: "):
        Settings.load({**environ, "MATRIXFLAG_ADMIN_EMAIL": "ada@example.com"}, {})
    with pytest.raises(SettingsError, match="go together"):
        Settings.load(environ, {})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SECRET_KEY", SECRET),
        ("MATRIXFLAG_ADMIN_PASSWORD", PASSWORD),
        ("MATRIXFLAG_OIDC_CLIENT_SECRET", "s3cret"),
    ],
)
def test_a_secret_comes_from_one_place(tmp_path: Path, variable: str, value: str) -> None:
    """Of two nobody could say which one counts."""
    (tmp_path / "file").write_text(value)
    environ = {variable: value, f"{variable}_FILE": str(tmp_path / "file")}

    with pytest.raises(SettingsError, match=f"{variable} and --.*-file exclude each other"):
        Settings.load({**environ, "MATRIXFLAG_ADMIN_EMAIL": "ada@example.com"}, {})


@pytest.mark.parametrize("program", ["control-plane", "proxy"])
def test_a_misspelt_setting_is_told_beside_what_else_is_wrong(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or it is found only at the next start, or never."""
    monkeypatch.setenv("MATRIXFLAG_AUDIT_DAY", "sesame")
    assert main([program, "--port", "x"]) == 2
    told = capsys.readouterr().err
    assert f"matrixflag {program}: --port: 'x' is not a whole number" in told
    assert "'MATRIXFLAG_AUDIT_DAY' is no setting; did you mean MATRIXFLAG_AUDIT_DAYS?" in told
    assert "sesame" not in told

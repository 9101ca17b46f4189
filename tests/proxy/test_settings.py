"""Settings of the sidecar: names, ranges, contradictions, secrets."""

from pathlib import Path
from typing import Any

import pytest

from proxy.contract.parsers import is_loopback
from proxy.contract.settings import SettingsError, rows
from proxy.settings import ProxySettings
from tests.support.signing import signing_key

SIDECAR_KEY = "mf_sidecar_" + "k" * 43
REMOTE = {"MATRIXFLAG_CONTROL_PLANE_URL": "http://cp:8000", "MATRIXFLAG_KEY": SIDECAR_KEY}


def load(environ: dict[str, str], **args: str) -> ProxySettings:
    """Return the settings of an environment and a command line."""
    return ProxySettings.load(environ, args)


def problems(environ: dict[str, str], **args: str) -> list[str]:
    """Return what is wrong with them."""
    with pytest.raises(SettingsError) as raised:
        load(environ, **args)
    return raised.value.problems


def test_a_control_plane_and_a_key_are_enough() -> None:
    """All else has a default, and the default reaches loopback only."""
    settings = load(REMOTE)
    assert (settings.host, settings.port, settings.admin_port) == (("127.0.0.1",), 8016, 8014)
    assert (settings.startup_policy, settings.keepalive_timeout_s) == ("allow-disk", 75.0)
    assert settings.unready_after_s == 0
    assert settings.cors_origins == ()
    assert settings.loopback_only
    assert not settings.allow_anonymous


def test_a_file_is_enough_too() -> None:
    """For the environment that is called production."""
    settings = load({}, snapshot="flags.json")
    assert (settings.snapshot, settings.environment) == (Path("flags.json"), "production")


def test_a_flag_wins_over_the_environment() -> None:
    """The command line is nearer to the person."""
    assert load({**REMOTE, "MATRIXFLAG_PORT": "1"}, port="2").port == 2


def test_all_problems_are_told_at_once_by_name() -> None:
    """Not one per attempt."""
    found = "\n".join(
        problems(
            {"MATRIXFLAG_PORT": "http", "MATRIXFLAG_STARTUP_POLICY": "fast"},
            drain_s="-1",
            cors_origins="shop.example",
        )
    )
    for name in ("MATRIXFLAG_PORT", "MATRIXFLAG_STARTUP_POLICY", "--drain-s", "--cors-origins"):
        assert name in found


def test_files_and_contradictions_are_told_at_once_too() -> None:
    """Also when something else could not be parsed; not what follows from that alone."""
    files = {"key_file": "/nowhere/key", "verify_keys_file": "/nowhere/public"}
    found = problems({"MATRIXFLAG_CONTROL_PLANE_URL": "cp:8000", **_SAME}, max_age_s="x", **files)
    assert [problem.partition(":")[0] for problem in found] == [
        "MATRIXFLAG_CONTROL_PLANE_URL",
        "--max-age-s",
        "--key-file /nowhere/key",
        "--verify-keys-file /nowhere/public",
        "--port and --admin-port are both 9",
    ]


_SAME = {"MATRIXFLAG_PORT": "9", "MATRIXFLAG_ADMIN_PORT": "9"}


@pytest.mark.parametrize(
    ("environ", "args", "part"),
    [
        ({}, {}, "--snapshot FILE"),
        ({"MATRIXFLAG_CONTROL_PLANE_URL": "http://cp"}, {}, "MATRIXFLAG_KEY"),
        (REMOTE, {"snapshot": "f.json"}, "exclude each other"),
        (REMOTE, {"key_file": "k"}, "exclude each other"),
        (REMOTE, {"port": "9", "admin_port": "9"}, "are both 9"),
        (REMOTE, {"host": " , "}, "no address"),
        (REMOTE, {"cors_origins": "*,https://a.example"}, "stands alone"),
        (REMOTE, {"control_plane_url": "cp:8000"}, "is not a URL"),
        (REMOTE, {"control_plane_url": "http://cp,other"}, "is not a URL"),
        (REMOTE, {"control_plane_url": " , "}, "names no URL"),
        (REMOTE, {"control_plane_url": "http://cp,http://cp/"}, "twice"),
        (REMOTE, {"control_plane_url": ",".join(f"http://cp{n}" for n in range(33))}, "32"),
        (REMOTE, {"control_plane_url": "http://u:p@cp"}, "user or password"),
        (REMOTE, {"port": "70000"}, "not between"),
        (REMOTE, {"cors_headers": "a b"}, "not the name of a header"),
        (REMOTE, {"streams_prefix": "flags"}, "beginning of a path"),
        (REMOTE, {"streams_prefix": "/a?b"}, "beginning of a path"),
        (REMOTE, {"streams_prefix": "//evil.example"}, "beginning of a path"),
        (REMOTE, {"instance": "ä"}, "printable ASCII"),
        ({}, {"snapshot": "f.json", "host": "0.0.0.0"}, "--allow-anonymous"),
        ({}, {"snapshot": "f.json", "environment": ""}, "--environment"),
    ],
)
def test_what_cannot_work_is_refused(
    environ: dict[str, str], args: dict[str, str], part: str
) -> None:
    """With a text that says what to change."""
    assert part in "\n".join(problems(environ, **args))


def test_port_0_may_stand_twice() -> None:
    """Each takes a free one."""
    load(REMOTE, port="0", admin_port="0")


def test_others_may_evaluate_a_file_when_that_is_said() -> None:
    """It is a choice, not an accident."""
    assert not load({}, snapshot="f", host="0.0.0.0", allow_anonymous="true").loopback_only


def test_the_key_can_come_from_a_file(tmp_path: Path) -> None:
    """As secrets are mounted, with a newline at the end."""
    file = tmp_path / "key"
    file.write_text(SIDECAR_KEY + "\n")
    environ = {"MATRIXFLAG_CONTROL_PLANE_URL": "http://cp", "MATRIXFLAG_KEY_FILE": str(file)}
    assert load(environ).key == SIDECAR_KEY


@pytest.mark.parametrize(
    "content", [b"", b"secret-but-wrong", b"\xff\xfe", b"mf_server_" + b"s" * 43]
)
def test_a_key_that_is_none_is_told_without_showing_it(tmp_path: Path, content: bytes) -> None:
    """Logs are read by many."""
    file = tmp_path / "key"
    file.write_bytes(content)
    found = problems({"MATRIXFLAG_CONTROL_PLANE_URL": "http://cp"}, key_file=str(file))
    assert "--key-file" in found[0]
    assert "secret-but-wrong" not in found[0]
    if content:
        text = content.decode("latin-1")
        found = problems({**REMOTE, "MATRIXFLAG_KEY": text})
        assert not any(text in problem for problem in found)


@pytest.mark.parametrize("url", ["http://u:hunter2@cp", "http://u:hunter2\u2100@cp"])
def test_a_password_in_an_address_is_not_shown(url: str) -> None:
    """It is refused for being there."""
    found = problems({**REMOTE, "MATRIXFLAG_CONTROL_PLANE_URL": url})
    assert found[0].startswith("MATRIXFLAG_CONTROL_PLANE_URL: ")
    assert "hunter2" not in found[0]


def test_a_key_file_that_is_not_there_is_told() -> None:
    """By its setting."""
    found = problems({"MATRIXFLAG_CONTROL_PLANE_URL": "http://cp"}, key_file="/nowhere/key")
    assert found == ["--key-file /nowhere/key: No such file or directory"]


def test_secrets_are_in_no_repr() -> None:
    """Settings end up in logs."""
    settings = load({**REMOTE, "MATRIXFLAG_UNIT_HASH_KEY": "pepper"})
    assert SIDECAR_KEY not in repr(settings)
    assert "pepper" not in repr(settings)


def test_each_instance_has_a_name_of_its_own() -> None:
    """Two on one host are told apart."""
    assert load(REMOTE).instance != load(REMOTE).instance
    assert load(REMOTE, instance="mine").instance == "mine"


def test_every_setting_says_what_it_is_for() -> None:
    """The help and the documentation are made from it."""
    for row in rows(ProxySettings):
        assert len(row.doc) > 10, row.field


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_loopback_is_told_without_resolving(host: str, loopback: bool) -> None:
    """A name server must not decide what is open."""
    assert is_loopback(host) is loopback


def test_defaults_are_immutable() -> None:
    """Frozen, so no part can change another's settings."""
    settings: Any = load(REMOTE)
    with pytest.raises(AttributeError):
        settings.port = 1


@pytest.mark.parametrize("text", ["/a/b", "/a/b/", ""])
def test_a_prefix_of_paths_ends_without_a_slash(text: str) -> None:
    """As ours begin with one."""
    assert load(REMOTE, streams_prefix=text).streams_prefix == text.rstrip("/")


def test_verify_keys_come_from_text_or_from_a_file(tmp_path: Path) -> None:
    """All of them, and they are public, so a flag may show them."""
    one, two = signing_key("one"), signing_key("two")
    expected = load(REMOTE, verify_keys=f"{one.public},{two.public}").verify_keys
    assert len(expected) == 2
    file = tmp_path / "keys"
    file.write_text(f"{one.public}\n{two.public}\n")
    assert load({**REMOTE, "MATRIXFLAG_VERIFY_KEYS_FILE": str(file)}).verify_keys == expected
    assert load(REMOTE).verify_keys == ()


def test_what_is_wrong_with_verify_keys_is_told(tmp_path: Path) -> None:
    """A private key above all, which belongs elsewhere, and is not repeated in a log."""
    private = signing_key("one").private()
    (told,) = problems(REMOTE, verify_keys="x")
    assert told.startswith("--verify-keys: ")
    file = tmp_path / "keys"
    file.write_text(private)
    (told,) = problems(REMOTE, verify_keys_file=str(file))
    assert "is a private key" in told
    assert private not in told
    (told,) = problems(REMOTE, verify_keys_file=str(tmp_path / "none"))
    assert "No such file" in told
    public = signing_key("one").public
    found = problems({}, verify_keys=public, verify_keys_file="x", snapshot="f.json")
    assert any("exclude each other" in problem for problem in found)
    assert any("is not signed" in problem for problem in found)


def test_a_secret_in_place_of_a_verify_key_is_not_quoted() -> None:
    """The mistake that is likely: the wrong one of the two lines was copied."""
    private = signing_key("one").private()
    (told,) = problems({**REMOTE, "MATRIXFLAG_VERIFY_KEYS": private})
    assert private not in told


def test_labels_are_names_and_values() -> None:
    """What a manifest makes of nothing is left out."""
    settings = load({}, snapshot="f", labels="region=eu, zone=,team=a=b")
    assert settings.labels == (("region", "eu"), ("team", "a=b"))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("labels", "region", "NAME=VALUE"),
        ("labels", "a=1,a=2", "twice"),
        ("labels", "-a=1", "letter or digit first"),
        ("labels", "a=" + "b" * 129, "at most 128"),
        ("labels", ",".join(f"l{n}=x" for n in range(17)), "at most 16"),
        ("application", "a\x00b", "--application"),
        ("application_version", "v" * 129, "--application-version"),
    ],
)
def test_what_cannot_be_told_is_refused_at_the_start(name: str, text: str, told: str) -> None:
    """Rather than by the control plane, later."""
    with pytest.raises(SettingsError, match=told):
        load({}, snapshot="f", **{name: text})

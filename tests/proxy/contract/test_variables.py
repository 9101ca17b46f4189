"""Variables that are misspelt are told; those of others, and of Kubernetes, are left alone."""

import pytest

from control_plane.dev.settings import DevSettings
from control_plane.settings import Settings
from proxy.contract.settings import SettingsError, read, rows
from proxy.contract.variables import NAMES, unknown_variables
from proxy.settings import ProxySettings

LINKS = {
    "MATRIXFLAG_SERVICE_HOST": "10.0.0.7",
    "MATRIXFLAG_SERVICE_PORT": "8000",
    "MATRIXFLAG_SERVICE_PORT_HTTP": "8000",
    "MATRIXFLAG_PORT": "tcp://10.0.0.7:8000",
    "MATRIXFLAG_PORT_8000_TCP": "tcp://10.0.0.7:8000",
    "MATRIXFLAG_PORT_8000_TCP_PROTO": "tcp",
    "MATRIXFLAG_PORT_8000_TCP_PORT": "8000",
    "MATRIXFLAG_PORT_8000_TCP_ADDR": "10.0.0.7",
    "MATRIXFLAG_ADMIN_SERVICE_HOST": "10.0.0.8",
    "MATRIXFLAG_ADMIN_PORT": "tcp://10.0.0.8:80",
    "MATRIXFLAG_CONTROL_PLANE_SERVICE_HOST": "10.0.0.9",
    "MATRIXFLAG_CONTROL_PLANE_PORT": "tcp://10.0.0.9:8000",
    "METRICS_SERVICE_HOST": "10.0.0.6",
    "METRICS_PORT": "tcp://10.0.0.6:9090",
}
"""What Kubernetes gives a container for Services of these names in its namespace."""


def test_the_names_are_those_of_all_settings() -> None:
    """A setting that is added or renamed takes its line of `NAMES` along."""
    assert {row.env for kind in (ProxySettings, Settings, DevSettings) for row in rows(kind)} == (
        NAMES
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("MATRIXFLAG_RATE_LIMIT_REED", "did you mean MATRIXFLAG_RATE_LIMIT_READ?"),
        ("MATRIXFLAG_CACHE", "did you mean MATRIXFLAG_CACHE_DIR?"),
        ("MATRIXFLAG_ADMIN_TOKEN", "did you mean ADMIN_TOKEN?"),
        ("MATRIXFLAG_REDIS_URL", "did you mean REDIS_URL?"),
        ("MATRIXFLAG_log_level", "did you mean MATRIXFLAG_LOG_LEVEL?"),
        ("MATRIXFLAG_XQWZK", "'MATRIXFLAG_XQWZK' is no setting"),
    ],
)
def test_a_variable_that_is_no_setting_is_told_with_the_nearest(name: str, told: str) -> None:
    """By its name: what it was set to may be a secret."""
    found = unknown_variables({name: "s3cret", "PATH": "/bin", "REDIS_URLS": "x"})
    assert len(found) == 1
    assert found[0].startswith(f"'{name}' is no setting")
    assert found[0].endswith(told)


def test_what_others_read_is_not_told() -> None:
    """Settings of the other program, of commands, of our tests; what Kubernetes put there."""
    environ = dict.fromkeys(NAMES, "x") | LINKS
    environ |= dict.fromkeys(("MATRIXFLAG_TOKEN", "MATRIXFLAG_URL", "MATRIXFLAG_SUITES"), "x")
    assert unknown_variables(environ) == []


def test_what_kubernetes_put_there_is_no_setting() -> None:
    """A Service called `matrixflag` beside it stops no start, and moves no port."""
    sidecar = read(ProxySettings, {**LINKS, "MATRIXFLAG_SNAPSHOT": "f.json"}, {})
    assert (sidecar.port, sidecar.admin_port) == (8016, 8014)
    control_plane = read(Settings, LINKS, {})
    assert (control_plane.port, control_plane.metrics_port) == (8000, 8001)
    with pytest.raises(SettingsError, match="MATRIXFLAG_PORT"):  # by hand it is a mistake
        read(Settings, {"MATRIXFLAG_PORT": "tcp://10.0.0.7:8000"}, {})


def test_names_without_end_are_told_in_bounded_room() -> None:
    """The environment is whatever somebody made it, and logs are lines."""
    environ = {f"MATRIXFLAG_{n:04}\n{'X' * 500}": "x" for n in range(1000)}
    found = unknown_variables(environ)
    assert len(found) == 21
    assert found[-1] == "980 more variables are no settings"
    assert all(text.isprintable() and len(text) < 200 for text in found)

"""Settings of `matrixflag dev`."""

import pytest

from control_plane.dev.settings import DevSettings
from proxy.contract.settings import SettingsError, read


def test_the_defaults_are_the_documented_ports() -> None:
    """8000 and 8001, 8016 and 8014, and a directory of the project."""
    settings = read(DevSettings, {}, {})
    ports = (settings.port, settings.metrics_port, settings.sidecar_port, settings.admin_port)
    assert ports == (8000, 8001, 8016, 8014)
    assert settings.data_dir == ".matrixflag"
    assert settings.redis_url == ""


def test_all_problems_are_reported_at_once() -> None:
    """By the name that was used."""
    with pytest.raises(SettingsError) as caught:
        read(DevSettings, {"REDIS_URL": "http://x:p4ss@y"}, {"port": "99999", "admin_port": "x"})
    assert [p.partition(":")[0] for p in caught.value.problems] == [
        "--port",
        "--admin-port",
        "REDIS_URL",
    ]
    assert "p4ss" not in str(caught.value)


def test_an_address_of_redis_that_makes_no_sense_is_refused_and_not_repeated() -> None:
    """The same as the control plane refuses."""
    with pytest.raises(SettingsError, match="REDIS_URL") as caught:
        read(DevSettings, {"REDIS_URL": "redis://user:p4ss/x@host"}, {})
    assert "p4ss" not in str(caught.value)


def test_a_port_cannot_be_given_twice() -> None:
    """Except 0, which is another each time."""
    with pytest.raises(SettingsError, match="--sidecar-port: 8000 is given to --port too"):
        DevSettings(sidecar_port=8000)
    DevSettings(port=0, metrics_port=0, sidecar_port=0, admin_port=0)


def test_a_password_is_not_in_the_repr() -> None:
    """Logs and tracebacks show reprs."""
    assert "p4ss" not in repr(DevSettings(redis_url="redis://:p4ss@host"))

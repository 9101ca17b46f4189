"""Settings of the control-plane source are refused when they could not work, all at once."""

import pytest

from proxy.contract.settings import SettingsError
from proxy.sync.settings import SyncSettings

KEY = "mf_sidecar_" + "a" * 43


@pytest.mark.parametrize(
    "url", ["http://localhost:8000", "https://flags.example/base/", "http://[::1]:8000"]
)
def test_an_address_of_http_is_taken(url: str) -> None:
    """With a port or a path, or without."""
    assert SyncSettings(control_plane_urls=(url,), key=KEY).control_plane_urls == (url,)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://x", "http://", "http://h:99999", "http://h:0", "http://[::1"],
)
def test_another_address_is_refused(url: str) -> None:
    """The message names the setting."""
    with pytest.raises(SettingsError, match="control_plane_url"):
        SyncSettings(control_plane_urls=(url,), key=KEY)


@pytest.mark.parametrize(
    "url", ["http://u:hunter2@h", "http://u:hunter2/@h", "http://u:hunter2\u2100@h"]
)
def test_a_password_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    """Addresses are logged, and what a library says of them may quote them."""
    with pytest.raises(SettingsError) as refused:
        SyncSettings(control_plane_urls=(url,), key=KEY)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("urls", [(), ("http://a", "http://a")])
def test_addresses_are_at_least_one_and_none_twice(urls: tuple[str, ...]) -> None:
    """One that stands there twice would get twice the share."""
    with pytest.raises(SettingsError, match="control_plane_urls"):
        SyncSettings(control_plane_urls=urls, key=KEY)


def test_all_problems_are_told_at_once() -> None:
    """A person mends them in one go."""
    with pytest.raises(SettingsError) as refused:
        SyncSettings(
            control_plane_urls=("x",),
            key="",
            instance="a\nb",
            startup_policy="perhaps",  # type: ignore[arg-type]
        )
    named = [problem.partition(":")[0] for problem in refused.value.problems]
    assert named == ["control_plane_urls", "key", "instance", "startup_policy"]


def test_a_key_that_fits_no_header_is_refused_and_not_repeated() -> None:
    """A newline at the end of a key file is the usual way to get one."""
    with pytest.raises(SettingsError) as refused:
        SyncSettings(control_plane_urls=("http://h",), key=KEY + "\n")
    assert KEY not in str(refused.value)


def test_the_key_is_not_in_the_repr() -> None:
    """Settings are logged."""
    assert KEY not in repr(SyncSettings(control_plane_urls=("http://h",), key=KEY))

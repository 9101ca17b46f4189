"""The texts by which a server is named."""

import pytest

from loadtests.addresses import Address, read_address


def test_a_url_has_a_host_a_port_and_perhaps_a_prefix() -> None:
    """The port is HTTP's when none is said; an IPv6 address stands in brackets in `Host`."""
    address = read_address("http://example.com:8016/flags/")
    assert (address.host, address.port, address.prefix) == ("example.com", 8016, "/flags")
    assert address.authority == "example.com:8016"
    assert read_address("http://example.com").port == 80
    assert read_address("http://[::1]:8016").authority == "[::1]:8016"


def test_a_socket_has_a_path() -> None:
    """All after the colon is the path."""
    address = read_address("unix:/run/flags/ofrep.sock")
    assert address == Address("unix:/run/flags/ofrep.sock", unix="/run/flags/ofrep.sock")
    assert address.authority == "localhost"


@pytest.mark.parametrize(
    "text", ["", "localhost:8016", "https://localhost", "unix:sock", "http://", "http://h:1/?a=b"]
)
def test_other_texts_are_refused(text: str) -> None:
    """No TLS: what is measured would be that of the generator, too."""
    with pytest.raises(ValueError, match=r"neither|begins with /"):
        read_address(text)

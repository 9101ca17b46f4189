"""Keys that programs present."""

import pytest

from proxy.contract.access import hash_key, key_from_headers, key_kind, key_prefix

SECRET = "AbC_-" + "x" * 38
KEY = f"mf_server_{SECRET}"


def test_a_key_names_its_kind() -> None:
    """Which is checked against what is stored."""
    assert key_kind(KEY) == "server"
    assert key_kind(f"mf_client_{SECRET}") == "client"
    assert key_kind(f"mf_sidecar_{SECRET}") == "sidecar"


@pytest.mark.parametrize(
    "text", ["", "mf_server_", KEY + "x", KEY[:-1], f"mf_admin_{SECRET}", KEY + "\n", " " + KEY]
)
def test_other_text_is_no_key(text: str) -> None:
    """And has no prefix that may be shown."""
    assert key_kind(text) is None
    with pytest.raises(ValueError, match="not a key"):
        key_prefix(text)


def test_a_prefix_shows_little() -> None:
    """Enough to tell keys apart."""
    assert key_prefix(KEY) == "mf_server_AbC_-x"


def test_a_hash_is_sha256_in_hexadecimal() -> None:
    """Of anything that can be presented."""
    assert hash_key("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert len(hash_key("\ud800")) == 64


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "key"),
    [
        (None, None, None),
        ("Bearer k", None, "k"),
        ("bearer   k ", None, "k"),
        (None, "k", "k"),
        ("Bearer k", "other", "k"),
        ("Basic dTpw", None, "Basic dTpw"),
        ("Basic dTpw", "k", "Basic dTpw"),
        ("Bearer", None, ""),
        ("", "k", ""),
    ],
)
def test_a_key_comes_in_either_header(
    authorization: str | None, x_api_key: str | None, key: str | None
) -> None:
    """Authorization goes first; another scheme is a wrong key, not none."""
    assert key_from_headers(authorization, x_api_key) == key

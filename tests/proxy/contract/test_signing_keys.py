"""Keys as people write them, and what they are told when they mix them up."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.signing_keys import SIGNING_PREFIX, VERIFY_PREFIX, key_text, split_keys

RAW = bytes(range(200, 232))
PEM = "-----BEGIN PUBLIC KEY-----\nMCow\nBQYD\n-----END PUBLIC KEY-----"


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=8))
def test_keys_come_back_as_they_were_written(keys: list[bytes]) -> None:
    """Divided by commas or lines."""
    for divider in (",", "\n", " , \n"):
        text = divider.join(key_text(VERIFY_PREFIX, key) for key in keys)
        assert split_keys(f"\n{text}{divider}", VERIFY_PREFIX) == keys


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
def test_plain_base64_is_taken_in_either_alphabet(encode: object, padded: bool) -> None:
    """As other tools print it."""
    text: str = encode(RAW).decode()  # type: ignore[operator]
    assert split_keys(text if padded else text.rstrip("="), SIGNING_PREFIX) == [RAW]


def test_pem_and_others_may_stand_together() -> None:
    """A block keeps its lines."""
    text = f"{key_text(VERIFY_PREFIX, RAW)}\n{PEM}\n"
    assert split_keys(text, VERIFY_PREFIX) == [PEM.encode(), RAW]


@pytest.mark.parametrize(
    ("text", "prefix", "says"),
    [
        ("", VERIFY_PREFIX, "no key"),
        (" , ,", VERIFY_PREFIX, "no key"),
        ("s3cret", VERIFY_PREFIX, "not PEM"),
        (base64.b64encode(RAW[:31]).decode(), VERIFY_PREFIX, "not PEM"),
        (base64.b64encode(RAW + b"x").decode(), VERIFY_PREFIX, "not PEM"),
        ("ä" * 43, VERIFY_PREFIX, "not PEM"),
        (key_text(SIGNING_PREFIX, RAW), VERIFY_PREFIX, "is a private key, a public one is needed"),
        (key_text(VERIFY_PREFIX, RAW), SIGNING_PREFIX, "is a public key, a private one is needed"),
        (",".join([key_text(VERIFY_PREFIX, RAW)] * 9), VERIFY_PREFIX, "more than 8"),
        ("-----BEGIN PUBLIC KEY-----", VERIFY_PREFIX, "not PEM"),
    ],
    ids=range(10),
)
def test_what_is_no_key_is_told_without_quoting_it(text: str, prefix: str, says: str) -> None:
    """It may be a secret, and what is told goes to a log."""
    with pytest.raises(ValueError, match=says) as raised:
        split_keys(text, prefix)
    secret = text.strip(" ,").removeprefix(SIGNING_PREFIX).removeprefix(VERIFY_PREFIX)
    assert not secret or secret not in str(raised.value)

"""Served is only what a trusted key has signed; of anything else nothing is believed."""

import base64
import subprocess
import sys

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.snapshot import Signature, SnapshotHeader, SnapshotRefused
from proxy.contract.statement import MAX_SIGNATURES
from proxy.trust import Trust, parse_verify_keys
from tests.support.signing import signer, signing_key, trusting
from tests.support.snapshots import make_snapshot

HEADER = make_snapshot({"a": True}, revision=7)[0]
SIGNED = signer("one")(HEADER)


def refusal(trust: Trust, header: SnapshotHeader) -> str:
    """Return why a header is refused."""
    with pytest.raises(SnapshotRefused) as refused:
        trust.verify(header)
    assert refused.value.reason == "signature"
    return refused.value.detail


def test_what_a_trusted_key_has_signed_is_taken() -> None:
    """Also beside others that are trusted, and beside signatures of others."""
    trusting("one").verify(SIGNED)
    trusting("two", "one").verify(SIGNED)
    trusting("one").verify(signer("one", "two")(HEADER))
    trusting("two").verify(signer("one", "two")(HEADER))


def test_what_nobody_trusted_has_signed_is_not() -> None:
    """And it is told which of the cases it is."""
    assert refusal(trusting("one"), HEADER) == "it is not signed"
    assert "none is trusted" in refusal(trusting("two"), SIGNED)
    assert signing_key("one").id in refusal(trusting("two"), SIGNED)


MEMBERS = [field for field in SnapshotHeader.__struct_fields__ if field != "signatures"]


@pytest.mark.parametrize("member", MEMBERS)
def test_nothing_of_a_signed_header_can_be_changed(member: str) -> None:
    """Not the revision, not the place, not the age at which it ends."""
    value = getattr(SIGNED, member)
    other = 99 if value is None else value + 1 if isinstance(value, int) else value + "1"
    forged = msgspec.structs.replace(SIGNED, **{member: other})
    assert "not of what the header says" in refusal(trusting("one"), forged)


def test_a_statement_that_cannot_be_is_refused() -> None:
    """A line within a value."""
    forged = msgspec.structs.replace(SIGNED, project="a\nenvironment b")
    assert "project" in refusal(trusting("one"), forged)


GOOD = SIGNED.signatures[0].signature


@given(
    st.text(max_size=100)
    | st.binary(max_size=80).map(lambda raw: base64.b64encode(raw).decode())
    | st.sampled_from([GOOD[:-4], GOOD + "=", GOOD + "AAAA", " " + GOOD, GOOD.replace("=", "")])
)
def test_no_text_passes_for_a_signature(text: str) -> None:
    """Nor does one raise anything but the refusal."""
    forged = msgspec.structs.replace(
        SIGNED, signatures=(Signature(SIGNED.signatures[0].key_id, text),)
    )
    refusal(trusting("one"), forged)


def test_a_good_signature_counts_wherever_it_stands_among_bad_ones() -> None:
    """Bad ones of the same key too; but not behind more than are looked at."""
    (good,) = SIGNED.signatures
    bad = Signature(good.key_id, base64.b64encode(bytes(64)).decode())
    header = msgspec.structs.replace(SIGNED, signatures=(bad,) * (MAX_SIGNATURES - 1) + (good,))
    trusting("one").verify(header)
    many = msgspec.structs.replace(SIGNED, signatures=(bad,) * MAX_SIGNATURES + (good,))
    assert "more than 8" in refusal(trusting("one"), many)


def test_public_keys_are_read_from_pem_too() -> None:
    """As openssl writes them."""
    key = Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert parse_verify_keys(pem + signing_key("one").public) == (
        key.public_bytes_raw(),
        base64.urlsafe_b64decode(signing_key("one").public.removeprefix("mf_verify_") + "="),
    )


def test_a_key_of_another_kind_is_refused() -> None:
    """With what is needed."""
    other = generate_private_key(SECP256R1()).public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ValueError, match="not of Ed25519"):
        parse_verify_keys(pem)
    broken = "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----"
    with pytest.raises(ValueError, match="no public key"):
        parse_verify_keys(broken)


def test_a_sidecar_without_keys_does_not_load_the_library() -> None:
    """It would be a tenth of its start."""
    code = "import sys, proxy.app; sys.exit(any(m.startswith('cryptography') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 0

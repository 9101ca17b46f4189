"""Signatures that the control plane makes: alike everywhere, once a revision, with two keys too."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from control_plane.publishing.replica import Replica
from control_plane.publishing.signing import Signer, new_signing_key, parse_signing_keys
from control_plane.publishing.snapshots import EnvironmentSnapshot, Published
from proxy.contract.snapshot import SnapshotHeader, encode_entry, read_snapshot
from proxy.contract.steps import finish
from tests.control_plane.publishing.replicas import WAIT_S, body, until_same
from tests.support.control_plane import put_flag
from tests.support.signing import signer, signing_key, trusting

AT = "2026-11-22T12:00:00.000Z"


def test_a_snapshot_is_signed_once_a_revision() -> None:
    """By whoever asks first; a change that nobody asks about costs no signature."""
    signed: list[int] = []

    def sign(header: SnapshotHeader) -> SnapshotHeader:
        signed.append(header.revision)
        return signer("one")(header)

    snapshot = EnvironmentSnapshot("default", "production", "e", Published(1, AT), sign)
    for revision in (2, 3):
        snapshot.apply(
            {("flag", "a"): encode_entry("flag", "a", revision)}, Published(revision, AT)
        )
    assert signed == []
    snapshot.body()
    assert snapshot.header() is snapshot.copy().header()
    assert signed == [3]
    read = finish(read_snapshot(snapshot.body(), verify=trusting("one").verify))
    assert read.header == snapshot.header()


def test_keys_sign_in_the_same_order_however_they_are_configured() -> None:
    """Or replicas would publish different bytes."""
    header = EnvironmentSnapshot("p", "e", "x", Published(1, AT)).header()
    assert signer("one", "two")(header) == signer("two", "one")(header)
    assert len(signer("one", "two")(header).signatures) == 2


async def test_replicas_publish_the_same_signed_bytes(store_url: str) -> None:
    """The one that wrote, the one that followed, and one that starts later."""
    sign = signer("one", "two")
    async with Replica(store_url, sign=sign) as one, Replica(store_url, sign=sign) as other:
        assert await one.wait_loaded(WAIT_S)
        assert await other.wait_loaded(WAIT_S)
        await put_flag(one, "a")
        await put_flag(one, "b", environments=("staging",))
        await until_same(one, other)
        async with Replica(store_url, sign=sign) as late:
            assert await late.wait_loaded(WAIT_S)
            for environment in ("production", "staging"):
                same = {body(replica, environment) for replica in (one, other, late)}
                assert len(same) == 1
                finish(read_snapshot(same.pop(), verify=trusting("two").verify))


def pem(key: object, password: bytes | None = None) -> str:
    """Return a private key as openssl writes it."""
    hidden = NoEncryption() if password is None else BestAvailableEncryption(password)
    encoded: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)  # type: ignore[attr-defined]
    return encoded.decode()


def test_private_keys_are_read_from_text_and_from_pem() -> None:
    """And one that is there twice signs once."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    made = parse_signing_keys(f"{signing_key('one').private()}, {signing_key('one').private()}")
    assert [each.id for each in made] == [signing_key("one").id]
    both = parse_signing_keys(pem(key) + signing_key("one").private())
    assert len(both) == 2
    assert Signer(both)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (pem(generate_private_key(SECP256R1())), "not of Ed25519"),
        (pem(Ed25519PrivateKey.generate(), b"hidden"), "has a password"),
        ("-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----", "no private key"),
        (signing_key("one").public, "is a public key"),
    ],
    ids=range(4),
)
def test_other_keys_are_refused(text: str, says: str) -> None:
    """With what is wrong."""
    with pytest.raises(ValueError, match=says):
        parse_signing_keys(text)


def test_a_private_key_is_not_shown() -> None:
    """Neither it nor the settings that hold it."""
    key = new_signing_key()
    assert key.private().removeprefix("mf_signing_") not in repr(key)
    assert parse_signing_keys(key.private())[0].public == key.public

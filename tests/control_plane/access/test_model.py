"""Tests of key records: what sidecars are told of them."""

import msgspec

from control_plane.access.model import KeyRecord, expires_at_ms, key_definition
from proxy.contract.codes import KeyKind
from proxy.contract.definitions import KeyDefinition

RECORD = KeyRecord(
    id="k_1",
    name="n",
    kind=KeyKind.SERVER,
    project="default",
    environment="production",
    hash="ab" * 32,
    prefix="mf_server_abcdef",
    created_at="2026-01-01T00:00:00.000Z",
    expires_at="1970-01-01T00:00:01.500Z",
)


def test_evaluation_keys_are_told_to_sidecars_by_hash() -> None:
    """And when they end, in Unix milliseconds."""
    assert key_definition(RECORD) == KeyDefinition("ab" * 32, KeyKind.SERVER, 1500)


def test_sidecar_keys_never_leave_the_control_plane() -> None:
    """No sidecar has a use for another's."""
    assert key_definition(msgspec.structs.replace(RECORD, kind=KeyKind.SIDECAR)) is None


def test_a_key_without_an_end_has_none() -> None:
    """Null, not a far date."""
    assert expires_at_ms(msgspec.structs.replace(RECORD, expires_at=None)) is None

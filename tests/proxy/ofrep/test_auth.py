"""Who may see what."""

import pytest

from proxy.contract.access import hash_key
from proxy.contract.codes import KeyKind
from proxy.contract.definitions import KeyDefinition
from proxy.ofrep.auth import ANONYMOUS, Access, Denied, Granted, Scope, authorise

KEY = "mf_server_" + "a" * 43
HASH = hash_key(KEY)
OPEN, CLOSED = Access(open_without_keys=True), Access(open_without_keys=False)


def known(kind: KeyKind, expires_at_ms: int | None = None) -> dict[str, KeyDefinition]:
    """Return the keys of a snapshot that knows KEY."""
    return {HASH: KeyDefinition(HASH, kind, expires_at_ms)}


@pytest.mark.parametrize("presented", [None, KEY])
def test_without_keys_an_open_sidecar_is_open(presented: str | None) -> None:
    """Also to those who bring a key."""
    assert authorise({}, presented, 0, OPEN) == Granted(Scope.ALL, ANONYMOUS)


@pytest.mark.parametrize("presented", [None, KEY])
def test_without_keys_a_closed_sidecar_says_what_to_do(presented: str | None) -> None:
    """Nobody can have a valid key yet."""
    denied = authorise({}, presented, 0, CLOSED)
    assert isinstance(denied, Denied)
    assert denied.status == 401
    assert "create a server or client key" in denied.details


@pytest.mark.parametrize("access", [OPEN, CLOSED])
@pytest.mark.parametrize(
    ("kind", "scope"), [(KeyKind.SERVER, Scope.ALL), (KeyKind.CLIENT, Scope.CLIENT)]
)
def test_the_kind_of_a_key_is_its_scope(kind: KeyKind, scope: Scope, access: Access) -> None:
    """The identity is the hash, never the key."""
    assert authorise(known(kind), KEY, 0, access) == Granted(scope, HASH)


def test_keys_close_an_open_sidecar() -> None:
    """The first key that is made is what closes it."""
    denied = authorise(known(KeyKind.SERVER), None, 0, OPEN)
    assert isinstance(denied, Denied)
    assert denied.status == 401


@pytest.mark.parametrize(("now_ms", "granted"), [(999, True), (1000, False), (1001, False)])
def test_a_key_expires_at_its_time(now_ms: int, granted: bool) -> None:
    """To the millisecond."""
    outcome = authorise(known(KeyKind.SERVER, 1000), KEY, now_ms, CLOSED)
    assert isinstance(outcome, Granted) is granted


def test_a_sidecar_key_does_not_evaluate() -> None:
    """403: it is somebody's, but not for this."""
    own = Access(open_without_keys=True, own_key_hash=hash_key("mine"))
    for keys, presented in ((known(KeyKind.SIDECAR), KEY), (known(KeyKind.SERVER), "mine")):
        denied = authorise(keys, presented, 0, own)
        assert isinstance(denied, Denied)
        assert denied.status == 403

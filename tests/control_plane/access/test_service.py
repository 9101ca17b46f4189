"""Tests of the keys' use cases that HTTP does not show: what is stored, what is published."""

from datetime import UTC, datetime, timedelta

import pytest

from control_plane.access import service
from control_plane.access.model import KeyInput, KeyPatch, RotateInput
from control_plane.access.roles import ANYWHERE, Role
from control_plane.access.service import KeyService, new_key
from control_plane.audit.model import Author
from control_plane.errors import Conflict, Invalid
from control_plane.publishing.replica import Replica
from proxy.contract.access import hash_key, key_kind
from proxy.contract.codes import KeyKind, ProblemCode
from tests.support.redis import RedisServer

AUTHOR = Author("admin", "127.0.0.1")


@pytest.fixture
async def replica(redis_url: str) -> Replica:
    """A replica that has read an empty Redis."""
    async with Replica(redis_url) as replica:
        assert await replica.wait_loaded(20)
        yield replica


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_new_key_is_well_formed_and_new(kind: KeyKind) -> None:
    """Its kind stands in it, 256 random bits behind."""
    keys = {new_key(kind) for _ in range(100)}
    assert len(keys) == 100
    assert {key_kind(key) for key in keys} == {kind}


async def test_the_key_itself_is_stored_nowhere(
    replica: Replica, session_redis: RedisServer
) -> None:
    """All of Redis is searched: records, changes, audit log."""
    made = await KeyService(replica).create(
        "default", "production", KeyInput(KeyKind.SERVER), AUTHOR
    )
    secret = made.key.removeprefix(made.prefix).encode()
    hashed = hash_key(made.key).encode()
    with session_redis.client() as client:
        hashes = [client.hgetall(name) for name in client.scan_iter(_type="hash")]
        streams = [client.xrange(name) for name in client.scan_iter(_type="stream")]
    stored = repr((hashes, streams)).encode()
    assert hashes
    assert streams
    assert secret not in stored
    assert hashed in stored


async def test_evaluation_keys_are_published_and_withdrawn(replica: Replica) -> None:
    """Each is a line of its environment's snapshot, and a revision of it alone."""
    snapshots = replica.project("default").snapshots
    keys = KeyService(replica)
    made = await keys.create("default", "staging", KeyInput(KeyKind.CLIENT), AUTHOR)
    line = snapshots["staging"].line("key", made.id)
    assert line is not None
    assert hash_key(made.key).encode() in line
    assert snapshots["staging"].revision == 2
    assert snapshots["production"].revision == 1
    await keys.delete("default", made.id, AUTHOR)
    assert snapshots["staging"].line("key", made.id) is None


async def test_a_sidecar_key_publishes_nothing(replica: Replica) -> None:
    """It is known here at once, by its hash."""
    made = await KeyService(replica).create(
        "default", "production", KeyInput(KeyKind.SIDECAR), AUTHOR
    )
    assert replica.project("default").snapshots["production"].revision == 1
    found = replica.find_key(hash_key(made.key))
    assert found is not None
    assert found.id == made.id


@pytest.mark.parametrize(
    "text",
    [
        "tomorrow",
        "2030-01-01",
        "2030-01-01T00:00:00",
        "20300101T000000Z",
        "2030-13-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "",
    ],
)
async def test_an_end_that_is_no_rfc_3339_instant_is_invalid(replica: Replica, text: str) -> None:
    """A date without a zone would end at another time for each reader."""
    document = KeyInput(KeyKind.SERVER, expires_at=text)
    with pytest.raises(Invalid) as caught:
        await KeyService(replica).create("default", "production", document, AUTHOR)
    (problem,) = caught.value.problems
    assert (problem.pointer, problem.code) == ("/expires_at", ProblemCode.INVALID_DATE)


async def test_an_end_is_kept_in_utc(replica: Replica) -> None:
    """As all times are."""
    document = KeyInput(KeyKind.SERVER, expires_at="2030-01-01t00:00:00.5+02:00")
    keys = KeyService(replica, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    made = await keys.create("default", "production", document, AUTHOR)
    assert made.expires_at == "2029-12-31T22:00:00.500Z"


async def test_the_number_of_keys_is_bounded(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a line in every snapshot."""
    monkeypatch.setattr(service, "MAX_KEYS", 1)
    keys = KeyService(replica)
    await keys.create("default", "production", KeyInput(KeyKind.SERVER), AUTHOR)
    with pytest.raises(Conflict) as caught:
        await keys.create("default", "production", KeyInput(KeyKind.SERVER), AUTHOR)
    assert caught.value.code == "too_many"


def asked(end: str | None = None) -> KeyInput:
    return KeyInput(KeyKind.SERVICE, role=Role.ADMIN, expires_at=end)


async def test_a_service_key_lives_no_longer_than_it_may(replica: Replica) -> None:
    """Made, changed or rotated: what is too late is refused, what is not said is the latest."""
    moment = [datetime.now(UTC)]
    keys = KeyService(replica, lambda: moment[0], timedelta(days=90))

    def after(days: float) -> str:
        at = moment[0] + timedelta(days=days)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    made = await keys.create("default", ANYWHERE, asked(), AUTHOR)
    assert made.expires_at == after(90)
    assert (await keys.create("default", ANYWHERE, asked(after(30)), AUTHOR)).expires_at == after(
        30
    )
    with pytest.raises(Invalid, match="within 90 days"):
        await keys.create("default", ANYWHERE, asked(after(90.1)), AUTHOR)
    made_at = datetime.fromisoformat(made.created_at)
    moment[0] = made_at + timedelta(days=60)
    for patch in (KeyPatch(expires_at=None), KeyPatch(expires_at=after(30.1))):
        with pytest.raises(Invalid, match="within 90 days"):
            await keys.patch("default", made.id, patch, AUTHOR, presented=False)
    for again in (RotateInput(expires_at=None), RotateInput(expires_at=after(90.1))):
        with pytest.raises(Invalid, match="within 90 days"):
            await keys.rotate("default", made.id, again, AUTHOR)
    patch = KeyPatch(expires_at=after(29), name="renamed")
    patched = await keys.patch("default", made.id, patch, AUTHOR, presented=False)
    assert patched.expires_at == after(29)
    rotated = await keys.rotate("default", made.id, RotateInput(), AUTHOR)
    assert rotated.expires_at == after(89)
    assert (await keys.rotate("default", made.id, RotateInput(), AUTHOR)).expires_at == after(89)
    sidecar = await keys.create("default", "production", KeyInput(KeyKind.SIDECAR), AUTHOR)
    assert sidecar.expires_at is None


async def test_a_key_from_before_ends_when_it_is_rotated_at_the_latest(replica: Replica) -> None:
    """It is left as it is until then, and can be changed otherwise."""
    old = await KeyService(replica).create("default", ANYWHERE, asked(), AUTHOR)
    assert old.expires_at is None
    keys = KeyService(replica, service_life=timedelta(days=7))
    patch = KeyPatch(name="another")
    patched = await keys.patch("default", old.id, patch, AUTHOR, presented=False)
    assert (patched.name, patched.expires_at) == ("another", None)
    rotated = await keys.rotate("default", old.id, RotateInput(), AUTHOR)
    assert rotated.expires_at is not None
    assert rotated.created_by == AUTHOR.actor
    again = await keys.rotate("default", old.id, RotateInput(), AUTHOR)
    assert again.expires_at is not None
    assert again.expires_at >= rotated.expires_at

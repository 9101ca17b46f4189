"""The units that evaluations say were shown something, beside those that Redis has counted.

Reads what is counted as anybody could, with a plain client and from the description of the keys;
nothing of the programs' own arithmetic is used.
"""

from collections import Counter
from hashlib import blake2b

import redis

from tests.chaos.evaluator import Evaluator
from tests.chaos.world import World, until

__all__ = ["all_counted", "units_in_redis"]

COUNTED_S = 100.0
"""A batch that a consumer got and did not finish is claimed after a minute, or some more."""

Counted = Counter[tuple[bytes, str]]
"""How often there is a record of a unit, by its hash, with its variant."""


def _hash(unit: str) -> bytes:
    return blake2b(f"targetingKey\0{unit}".encode(), digest_size=12).digest()


def units_in_redis(client: redis.Redis) -> Counted:
    """Return the records of the units that were shown the flag, and see that the counters agree."""
    found: Counted = Counter()
    for subjects in client.scan_iter("mf:exposures:{default/production/*}:subjects"):
        base = subjects.decode().removesuffix("subjects")
        for ident, name in client.hgetall(subjects).items():
            if name == b"flag:shown":
                found += _records(client, base, ident.decode())
    return found


def _records(client: redis.Redis, base: str, subject: str) -> Counted:
    # in one step, so that counters and records are of the same moment
    with client.pipeline(transaction=True) as pipe:
        buckets = int(client.hget(f"{base}subject:{subject}", "buckets") or 1) + 8
        pipe.hgetall(f"{base}subject:{subject}")
        for bucket in range(buckets):
            pipe.hgetall(f"{base}units:{subject}:{bucket}")
        counters, *records = pipe.execute()
    found: Counted = Counter()
    for bucket in records:
        bucket.pop(b"", None)  # is there from the beginning
        for unit, record in bucket.items():
            found[unit, counters[b"v%d" % record[6]].decode()] += 1
    assert found.total() == int(counters[b"units"])
    return found


async def all_counted(world: World, evaluator: Evaluator) -> float:
    """Return the seconds until each unit that is shown by now is counted, once and no other."""
    shown = {_hash(unit): variant for unit, variant in evaluator.units.items()}

    async def there() -> bool:
        with world.redis.client() as client:
            found = units_in_redis(client)
        return found.keys() >= shown.items()

    took_s = await until(there, COUNTED_S)
    with world.redis.client() as client:
        found = units_in_redis(client)
    unsure = {_hash(unit) for unit in evaluator.unsure}
    assert not {item: n for item, n in found.items() if n > 1}
    strangers = {unit for unit, _ in found} - {_hash(unit) for unit in evaluator.units} - unsure
    # the evaluator may not have seen the answer yet of what is counted already
    assert len(strangers) <= len(evaluator.targets), strangers
    return took_s

"""The units that evaluations say were shown something, beside those that Redis has.

Reads the streams of exposures as anybody could, with a plain client; nothing of the programs' own
arithmetic is used.
"""

from collections import Counter

import msgspec
import redis

from proxy.contract.exposures import ExposureBatch
from tests.chaos.evaluator import Evaluator
from tests.chaos.world import World, until

__all__ = ["all_counted", "units_in_redis"]


def units_in_redis(client: redis.Redis) -> Counter[tuple[str, str]]:
    """Return how often each unit with its variant is stored."""
    found: Counter[tuple[str, str]] = Counter()
    for stream in client.scan_iter("mf:exposures:{default/production/*}", _type="stream"):
        for _, fields in client.xrange(stream):
            batch = msgspec.json.decode(fields[b"batch"], type=ExposureBatch)
            found.update((item.unit, item.variant) for item in batch.items if item.flag == "shown")
    return found


async def all_counted(world: World, evaluator: Evaluator, within_s: float) -> float:
    """Return the seconds until Redis has each unit that is shown by now, once and no other."""
    shown = dict(evaluator.units)

    async def there() -> bool:
        with world.redis.client() as client:
            found = units_in_redis(client)
        return found.keys() >= shown.items()

    took_s = await until(there, within_s)
    with world.redis.client() as client:
        found = units_in_redis(client)
    unsure = evaluator.unsure
    assert not {item: n for item, n in found.items() if n > 1 and item[0] not in unsure}
    strangers = {unit for unit, _ in found} - evaluator.units.keys() - unsure
    # the evaluator may not have seen the answer yet of what is stored already
    assert len(strangers) <= len(evaluator.targets), strangers
    return took_s

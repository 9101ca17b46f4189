"""Units in a real Redis: packed, counted once, whatever the order and however often."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable

import pytest
import redis as sync_redis

from control_plane.exposures import store as module
from control_plane.exposures.model import Seen, Subject, SubjectUnits, unit_hash
from control_plane.exposures.store import SubjectFigures, SubjectStore
from control_plane.reports.model import SHARDS, Kind
from control_plane.store.connection import Connections, RedisLimits
from control_plane.store.keys import ReportKeys, subjects_key

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS
FLAG = Subject.of_flag("checkout")
_SHARDS = range(SHARDS[Kind.EXPOSURES])

Shown = tuple[int, int, str]
"""Unit, milliseconds after `NOW_MS`, variant."""


@pytest.fixture
async def connections(store_url: str) -> AsyncIterator[Connections]:
    """Connections to each kind of server."""
    opened = Connections(store_url, RedisLimits())
    yield opened
    await opened.close()


@pytest.fixture
def store(connections: Connections) -> SubjectStore:
    """What is under test."""
    return SubjectStore(connections)


def units_of(shown: Iterable[Shown], subject: Subject = FLAG) -> SubjectUnits:
    """Return what is to be counted."""
    units = SubjectUnits(subject)
    for unit, at_ms, variant in shown:
        units.add(unit_hash("targetingKey", f"user-{unit}"), NOW_MS + at_ms, variant)
    return units


async def count(store: SubjectStore, *subjects: SubjectUnits) -> None:
    """Count in all shards."""
    for shard in _SHARDS:
        await store.count("p", "e", shard, subjects)


async def figures(store: SubjectStore, subject: Subject = FLAG) -> SubjectFigures:
    """Return what was counted, of all shards."""
    parts = [await store.figures("p", "e", shard, subject.id) for shard in _SHARDS]
    variants: Counter[str] = Counter()
    days: Counter[tuple[int, str]] = Counter()
    for part in parts:
        variants.update(part.variants)
        days.update(part.days)
    firsts = [part.first_ms for part in parts if part.first_ms is not None]
    lasts = [part.last_ms for part in parts if part.last_ms is not None]
    return SubjectFigures(
        units=sum(part.units for part in parts),
        several=sum(part.several for part in parts),
        variants={name: n for name, n in variants.items() if n},
        days={day: n for day, n in days.items() if n},
        first_ms=min(firsts, default=None),
        last_ms=max(lasts, default=None),
    )


def expected(shown: Iterable[Shown]) -> SubjectFigures:
    """Return what an independent count says."""
    firsts: dict[int, tuple[int, str]] = {}
    seen: dict[int, set[str]] = {}
    times = [at_ms for _, at_ms, _ in shown]
    for unit, at_ms, variant in shown:
        firsts[unit] = min(firsts.get(unit, (at_ms, variant)), (at_ms, variant))
        seen.setdefault(unit, set()).add(variant)
    return SubjectFigures(
        units=len(firsts),
        several=sum(len(variants) > 1 for variants in seen.values()),
        variants=Counter(variant for _, variant in firsts.values()),
        days=Counter(((NOW_MS + at_ms) // DAY_MS, variant) for at_ms, variant in firsts.values()),
        first_ms=NOW_MS + min(times),
        last_ms=NOW_MS + max(times),
    )


async def test_a_unit_counts_for_the_variant_it_saw_first(store: SubjectStore) -> None:
    """Also when that is told later."""
    await count(store, units_of([(1, 50, "b")]))
    await count(store, units_of([(1, -DAY_MS, "a")]))
    assert await figures(store) == SubjectFigures(
        1, 1, {"a": 1}, {(19_999, "a"): 1}, NOW_MS - DAY_MS, NOW_MS + 50
    )


async def test_counting_agrees_with_an_independent_count(store: SubjectStore) -> None:
    """In any order, in parts, with repeats, over days, while buckets are split."""
    chance = random.Random(5)
    shown = [
        (chance.randrange(3000), chance.randrange(-3 * DAY_MS, DAY_MS), chance.choice("abc"))
        for _ in range(9000)
    ]
    parts = [shown[at : at + 700] for at in range(0, len(shown), 700)]
    for part in (*parts, *chance.sample(parts, 4)):
        await count(store, units_of(part))
    assert await figures(store) == expected(shown)
    before = await figures(store)
    await count(store, units_of(shown))
    assert await figures(store) == before


async def test_of_two_variants_at_the_same_time_the_order_does_not_matter(
    store: SubjectStore,
) -> None:
    """One is taken by its name, in bytes."""
    first, second = Subject.of_flag("one"), Subject.of_flag("two")
    for subject, order in ((first, ("Zé", "a", "é", "b")), (second, ("é", "b", "a", "Zé"))):
        for variant in order:
            await count(store, units_of([(1, 0, variant)], subject))
    assert await figures(store, first) == await figures(store, second)
    assert (await figures(store, first)).variants == {"Zé": 1}


async def test_subjects_are_counted_apart(store: SubjectStore) -> None:
    """Several in a step."""
    phase = Subject.of_experiment("e", 1)
    await count(store, units_of([(1, 0, "a"), (2, 0, "b")]), units_of([(1, 5, "c")], phase))
    assert (await figures(store)).variants == {"a": 1, "b": 1}
    assert (await figures(store, phase)).variants == {"c": 1}
    assert (await figures(store, Subject.of_flag("other"))).units == 0


async def test_variants_beyond_what_fits_are_counted_as_one(store: SubjectStore) -> None:
    """A sidecar that makes up names costs no more."""
    shown = [(unit, 0, f"v{unit:04}") for unit in range(4000)]
    await count(store, units_of(shown[:2000]))
    await count(store, units_of(shown[2000:]))
    counted = await figures(store)
    assert counted.units == 4000
    assert sum(counted.variants.values()) == 4000
    assert counted.variants[""] == 4000 - 8 * 250
    assert counted.several == 0


async def test_subjects_beyond_the_bound_are_counted_as_one(
    store: SubjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were there before go on."""
    monkeypatch.setattr(module, "MAX_SUBJECTS", 2)
    names = [Subject.of_experiment(f"e{n}", 1) for n in range(5)]
    for _ in range(2):
        for number, subject in enumerate(names):
            await count(store, units_of([(unit, 0, "a") for unit in range(50)], subject))
            if number == 1:
                assert (await figures(store, subject)).units == 50
    assert [(await figures(store, subject)).units for subject in names] == [50, 50, 0, 0, 0]
    assert (await figures(store, Subject("other", ""))).units == 50


async def test_a_count_that_breaks_off_is_made_again(store: SubjectStore) -> None:
    """As it is when a consumer dies between two shards."""
    units = units_of([(unit, unit, "ab"[unit % 2]) for unit in range(400)])
    for shard in _SHARDS[:3]:
        await store.count("p", "e", shard, [units])
    assert 0 < (await figures(store)).units < 400
    await count(store, units)
    assert (await figures(store)).units == 400


def test_units_lie_in_the_slots_of_the_streams() -> None:
    """So that a cluster spreads them alike."""
    for shard in _SHARDS:
        stream = ReportKeys("exposures", "p", "e", shard).stream
        slots = {
            sync_redis.cluster.key_slot(name.encode())
            for name in (stream, subjects_key("p", "e", shard))
        }
        assert len(slots) == 1


def test_what_a_unit_saw_is_one_value() -> None:
    """The model's, which is what is written."""
    (found,) = (s for s in units_of([(1, 5, "a"), (1, 2, "b")]).shards if s)
    assert list(found.values()) == [Seen(NOW_MS + 2, "b", several=True)]

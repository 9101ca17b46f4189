"""What makes an exposure acceptable, and what exposures say together. Pure.

The shape is the contract's; `check_exposure` says what the shape cannot. Times are not looked at
there: they are clamped when exposures are counted.

A *subject* is what units are counted for: an experiment's phase where there is one, else the flag.
Of each unit of a subject it matters which variant it saw first, when, and whether it saw others;
how often does not. Units are known by their hash.
"""

from collections.abc import Container, Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from control_plane.reports.model import SHARDS, Kind, clamped, out_of_bounds
from proxy.contract.exposures import Exposure, ExposureBatch
from proxy.contract.problems import Problem, pointer
from proxy.contract.reports import MAX_LABEL_CHARS
from proxy.contract.steps import Steps
from proxy.contract.units import MAX_UNIT_CHARS

__all__ = [
    "OTHER",
    "ExposureSummary",
    "Folded",
    "Seen",
    "Subject",
    "SubjectUnits",
    "check_exposure",
    "fold",
    "unit_hash",
]

_MAX_COUNT = (1 << 53) - 1
_ITEMS_A_STEP = 250  # half a millisecond
_TEXTS = ("flag", "variant", "unit_attribute", "reason", "epoch", "rule_id", "experiment")
_NUMBERS = (("revision", 0), ("count", 1), ("phase", 0), ("allocation_version", 0))


def check_exposure(index: int, item: Exposure) -> list[Problem]:
    """Return what is wrong with the item at a place of a batch."""
    # One expression decides for a good item: batches are large and nearly always good.
    if (
        0 < item.count <= _MAX_COUNT
        and 0 <= item.revision <= _MAX_COUNT
        and 0 < len(item.unit) <= MAX_UNIT_CHARS
        and 0 < len(item.flag) <= MAX_LABEL_CHARS
        and 0 < len(item.variant) <= MAX_LABEL_CHARS
        and len(item.unit_attribute) <= MAX_LABEL_CHARS
        and len(item.reason) <= MAX_LABEL_CHARS
        and len(item.epoch) <= MAX_LABEL_CHARS
        and (item.rule_id is None or len(item.rule_id) <= MAX_LABEL_CHARS)
        and item.experiment is None
    ):
        return []
    problems: list[Problem] = []
    problems += out_of_bounds(_at(index, "unit"), len(item.unit), 1, MAX_UNIT_CHARS)
    for member in _TEXTS:
        text: Any = getattr(item, member)
        least = 1 if member in ("flag", "variant", "experiment") else 0
        if text is not None:
            problems += out_of_bounds(_at(index, member), len(text), least, MAX_LABEL_CHARS)
    for member, least in _NUMBERS:
        number: Any = getattr(item, member)
        if number is not None:
            problems += out_of_bounds(_at(index, member), number, least, _MAX_COUNT)
    return problems


def _at(index: int, member: str) -> str:
    return pointer("items", index, member)


class Subject(NamedTuple):
    """What units are counted for. `name` tells it apart, `id` stands for it in keys of Redis."""

    id: str
    name: str

    @classmethod
    def of_flag(cls, flag: str) -> "Subject":
        """Return the subject that exposures of a flag without an experiment are counted for."""
        return cls._named(f"flag:{flag}")

    @classmethod
    def of_experiment(cls, experiment: str, phase: int) -> "Subject":
        """Return the subject that exposures of an experiment's phase are counted for."""
        return cls._named(f"experiment:{phase}:{experiment}")

    @classmethod
    def _named(cls, name: str) -> "Subject":
        return cls(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest(), name)


OTHER = Subject("other", "")
"""What exposures of flags that nobody defined are counted for, and subjects beyond the bound."""


class Seen(NamedTuple):
    """What a unit saw: first when (Unix ms) and which variant, and whether others too."""

    first_ms: int
    variant: str
    several: bool


class SubjectUnits:
    """Units of a subject, those of each shard by their hash."""

    __slots__ = ("last_ms", "shards", "subject")

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.last_ms = 0
        self.shards: list[dict[bytes, Seen]] = [{} for _ in range(SHARDS[Kind.EXPOSURES])]

    def add(self, unit: bytes, at_ms: int, variant: str) -> None:
        """Take an exposure in; the order does not matter."""
        self.last_ms = max(self.last_ms, at_ms)
        units = self.shards[unit[-1] % len(self.shards)]
        old = units.get(unit)
        if old is None:
            units[unit] = Seen(at_ms, variant, False)
        elif old.variant != variant:
            # the earlier counts, and of two at the same time the one that sorts first
            first_ms, first = min(old[:2], (at_ms, variant))
            units[unit] = Seen(first_ms, first, True)
        elif at_ms < old.first_ms:
            units[unit] = Seen(at_ms, variant, old.several)


class Folded(NamedTuple):
    """What exposures say together; items whose time was clamped, and whose flag is not known."""

    subjects: list[SubjectUnits]
    clamped: int
    unknown: int


class ExposureSummary(msgspec.Struct, frozen=True):
    """What is counted of a flag, or of a phase of an experiment, in one environment.

    `units` were exposed, `variants` says how many saw which first, `several` saw others later.
    `days` are those of the first exposure, UTC. Times are RFC 3339. `pending` and `parked` are
    items of the environment, of whatever flag: stored and not counted yet, and not to be counted.
    """

    project: str
    environment: str
    flag: str | None
    experiment: str | None
    phase: int | None
    units: int
    several: int
    variants: dict[str, int]
    days: dict[str, dict[str, int]]
    first_at: str | None
    last_at: str | None
    pending: int
    parked: int


def unit_hash(attribute: str, unit: str) -> bytes:
    """Return the 12 bytes that a unit is known by."""
    text = f"{attribute}\0{unit}".encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=12).digest()


def fold(batches: Iterable[tuple[ExposureBatch, int]], known: Container[str]) -> Steps[Folded]:
    """Return what batches, each with the time it arrived (Unix ms), say together, in steps.

    `known` are the flags that there are. An exposure takes some two microseconds.
    """
    subjects: dict[tuple[str, str | None, int | None], SubjectUnits] = {}
    hashes: dict[tuple[str, str], bytes] = {}
    moved = unknown = 0
    for batch, received_ms in batches:
        for number, item in enumerate(batch.items):
            if number % _ITEMS_A_STEP == 0:
                yield
            key = (item.flag, item.experiment, item.phase)
            subject = subjects.get(key)
            if subject is None:
                subject = subjects[key] = SubjectUnits(_subject_of(item, known))
            if subject.subject is OTHER:
                unknown += 1
            who = (item.unit_attribute, item.unit)
            unit = hashes.get(who)
            if unit is None:
                unit = hashes[who] = unit_hash(*who)
            at_ms = clamped(item.first_seen_ms, received_ms)
            if at_ms != item.first_seen_ms:
                moved += 1
            subject.add(unit, at_ms, item.variant)
    return Folded(list(subjects.values()), moved, unknown)


def _subject_of(item: Exposure, known: Container[str]) -> Subject:
    if item.flag not in known:
        return OTHER
    if item.experiment is None:
        return Subject.of_flag(item.flag)
    return Subject.of_experiment(item.experiment, item.phase or 0)

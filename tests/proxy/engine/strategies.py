"""Random projects and contexts that meet each other often: few names, few values, all types.

`Maker` makes them from a seed, in a hundredth of the time that drawing each part by hypothesis
takes, so that a property sees thousands. The strategies draw a seed and a size; what fails is made
smaller by its size, and made again with `Maker(seed, size)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from hypothesis import strategies as st

__all__ = [
    "FLAGS",
    "MOMENTS",
    "SEGMENTS",
    "TIMES",
    "Maker",
    "World",
    "any_json",
    "arms",
    "conditions",
]
__all__ += ["contexts", "definitions", "makers", "segments", "worlds"]

Json = dict[str, Any]

ATTRIBUTES = ["country", "plan", "n", "flag", "tags", "a.b", "a.c[1]", "list[0]", "deep.x.y", "[0]"]
ATTRIBUTES += ["version", "ip", "at", "email"]
UNIT_ATTRIBUTES = ["targetingKey", "targetingKey", "account", "a.b", "n"]
TEXTS = ["", "DE", "de", "pro", "u-1", "u-2", "ä", "Ä", "ẞ", "ss", "1", "true", "x.y", "日本"]
NUMBERS: list[Any] = [0, 1, -1, 2, 0.0, 1.0, -0.0, 0.5, 2.0, 10, 1e300, 2**53, 10**18]
SCALARS: list[Any] = [*TEXTS, *NUMBERS, True, False]
VERSIONS = ["1.2.3", "1.2.4", "1.3.0", "2.0.0", "0.2.9", "0.3.0", "1.2.3-rc.1", "1.2.3-rc.2"]
VERSIONS += ["1.2.3-rc.1.0", "1.2.3-alpha", "1.2.3+build.5", "0.0.3", "1.10.0"]
NO_VERSIONS = ["1.2", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3-01", "", "1.2.3.4", "1.2.3 "]
RANGES = ["^1.2", "~1.2.3", "^0.2", "^0", "~1", "1.2.3", "^1.2.3-rc.1", "~0.3.0", "^0.0.3"]
ADDRESSES = ["10.0.0.1", "10.1.2.3", "192.168.1.7", "::ffff:10.0.0.1", "2001:db8::1", "::1"]
NO_ADDRESSES = [
    "10.0.0",
    "010.0.0.1",
    "10.0.0.256",
    "fe80::1%eth0",
    " 10.0.0.1",
    "::g",
    "10.0.0.1/8",
]
NETWORKS = ["10.0.0.0/8", "10.1.2.3", "192.168.1.0/24", "2001:db8::/32", "::/0", "0.0.0.0/0", "::1"]
PATTERNS = ["^u-", "D", "^DE$", "e.?x", "(pro|DE)", "[0-9]+$", "^$", "ä+", r"x\.y", ".", "1|true"]
MOMENTS = ["2026-12-01T09:00:00Z", "2026-12-01T10:00:00+01:00", "2026-12-01T09:00:00.001Z"]
MOMENTS += ["2026-12-01T09:00:00.0005Z", "2026-12-08T00:00:00Z", "2026-03-29T01:00:00Z"]
MOMENTS += ["1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z", "2026-12-05T23:30:00-11:30"]
NO_MOMENTS = [
    "2026-12-01T09:00:00",
    "2026-12-01",
    "now",
    "2026-13-01T09:00:00Z",
    "20261201T090000Z",
]
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu"]
WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
CLOCKS = ["00:00", "09:00", "09:00:01", "17:30", "23:59:59", "02:30"]
NASTY: list[Any] = [
    *(None, True, False, 0, 10**400, -(10**400), 2**63, float("nan"), float("inf"), float("-inf")),
    *(1e308, 5e-324, "\ud800", "u-1\udfff", "\x00", "a\nb", "x" * 20_000, [], {}, [[]], [{}]),
    *(["u-1"], {"targetingKey": "u-1"}, [None, True, 1, "DE"]),
]

TEXT_OPERATORS = ["contains", "starts_with", "ends_with"]
NUMBER_OPERATORS = ["gt", "gte", "lt", "lte"]
VERSION_OPERATORS = ["semver_eq", "semver_gt", "semver_gte", "semver_lt", "semver_lte"]
VALUE_OPERATORS = ["equals", "not_equals", "in", "not_in", "any_of", "all_of", "none_of"]
TIMED_OPERATORS = ["before", "after", "weekday", "time_of_day"]
OPERATORS = [*VALUE_OPERATORS, *TEXT_OPERATORS, *NUMBER_OPERATORS, *VERSION_OPERATORS, "exists"]
OPERATORS += ["size_gt", "size_lt", "matches", "semver_match", "in_cidr", *TIMED_OPERATORS]
SEGMENTS = ["s0", "s1", "s2"]
FLAGS = ["f0", "f1", "f2", "f3", "f4"]
VARIANTS = ["on", "off", "third", "größe"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _times() -> list[int]:
    """Return times in Unix milliseconds around and between all moments, and the ends of time."""
    near = {
        (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1) for text in MOMENTS
    }
    around = {moment + step for moment in near for step in (-1, 0, 1, 2, 86_400_000 // 3)}
    return sorted(around | {0, -(2**62), 2**62, -(10**15), 253_402_300_800_000})


TIMES = _times()


@dataclass(frozen=True)
class World:
    """A project as JSON: flags as sidecars are sent them, segments; which flags are not usable."""

    flags: dict[str, Json]
    segments: dict[str, Json]
    broken: frozenset[str]

    def marked(self) -> dict[str, Json]:
        """Return the flags as the reference takes them: what cannot be used is marked."""
        return {key: {**flag, "broken": key in self.broken} for key, flag in self.flags.items()}


class Maker(Random):
    """Makes definitions and contexts. `size` bounds how many rules, conditions and flags."""

    def __init__(self, seed: int, size: int = 5) -> None:
        super().__init__(seed)
        self._size = size

    def likely(self, share: float) -> bool:
        """Return whether something with this chance happens."""
        return self.random() < share

    def some(self, of: list[Any], least: int = 0, most: int = 4) -> list[Any]:
        """Return some of a list, repeated ones too."""
        return [self.choice(of) for _ in range(self.randint(least, most))]

    # contexts

    def json(self, depth: int = 3) -> Any:
        """Return any JSON."""
        kind = self.randrange(8 if depth else 6)
        if kind < 4:
            return self.choice(NASTY)
        if kind < 6:
            return self.choice(SCALARS)
        inner = [self.json(depth - 1) for _ in range(self.randrange(4))]
        if kind == 6:
            return inner
        return {self.choice([*TEXTS, "\ud800", "b", "c", "x"]): item for item in inner}

    def value(self) -> Any:
        """Return a value of an attribute."""
        kind = self.randrange(8)
        if kind < 5:
            return self.choice(SCALARS)
        return self.some([*SCALARS, None]) if kind == 5 else self.json()

    def context(self) -> Json:
        """Return a context: JSON, of any types at any place."""
        made: dict[str, Callable[[], Any]] = dict.fromkeys([*ATTRIBUTES, "account"], self.value)
        own = {
            "targetingKey": [*TEXTS, "u-1", "u-2", "1"],
            "version": VERSIONS + NO_VERSIONS,
            "ip": ADDRESSES + NO_ADDRESSES,
            "at": [*MOMENTS, *NO_MOMENTS, *TIMES, 1_796_115_600_000.5, -1e300],
            "email": [*PATTERNS, "u-7", "DE", "ää", "x.y", "123", "x" * 16_384, "x" * 16_385],
        }
        for name in ("a", "deep"):
            made[name] = lambda: {
                key: self.value() for key in ("b", "c", "x", "y") if self.likely(0.6)
            }
        context = {name: make() for name, make in made.items() if self.likely(0.5)}
        if self.likely(0.5):
            context["a"] = {**context.get("a", {}), "c": [self.value(), self.value()]}
        if self.likely(0.3):
            context["list"] = self.some(SCALARS, 0, 3)
        for name, values in own.items():
            if self.likely(0.8):
                context[name] = self.choice(values) if self.likely(0.85) else self.value()
        if self.likely(0.2):
            context |= {str(self.choice([*TEXTS, "\ud800"])): self.json()}
        return context

    # conditions

    def leaf(self) -> Json:
        """Return a leaf."""
        op = self.choice(OPERATORS)
        made: Json = {"op": op}
        attribute = None
        if op in NUMBER_OPERATORS:
            made["values"] = [self.choice(NUMBERS)]
        elif op in ("size_gt", "size_lt"):
            made["values"] = [self.randint(0, 3)]
        elif op in VERSION_OPERATORS:
            attribute, made["values"] = "version", [self.choice(VERSIONS)]
        elif op == "semver_match":
            attribute, made["values"] = "version", self.some(RANGES, 1, 2)
        elif op == "in_cidr":
            attribute, made["values"] = "ip", self.some(NETWORKS, 1, 2)
        elif op == "matches":
            attribute, made["values"] = "email", self.some(PATTERNS, 1, 2)
        elif op in TIMED_OPERATORS:
            attribute = "at"
            made |= self._timed(op)
        elif op != "exists":
            of = TEXTS if op in TEXT_OPERATORS else SCALARS
            made["values"] = self.some(of, 1, 4)
            if self.likely(0.25):
                made["fold"] = self.likely(0.5)
        if op in TIMED_OPERATORS and self.likely(0.6):
            attribute = None
        elif attribute is None or self.likely(0.2):
            attribute = self.choice(ATTRIBUTES)
        if attribute is not None:
            made["attribute"] = attribute
        if self.likely(0.25):
            made["negate"] = self.likely(0.7)
        return made

    def _timed(self, op: str) -> Json:
        if op in ("before", "after"):
            return {"values": [self.choice(MOMENTS + TIMES)]}
        zone = {"zone": self.choice(ZONES)} if self.likely(0.6) else {}
        if op == "weekday":
            return {"values": self.some(WEEKDAYS, 1, 4), **zone}
        since, until = self.sample(CLOCKS, 2)
        return {"from": since, "to": until, **zone}

    def condition(self, names: list[str], depth: int | None = None) -> Json:
        """Return a condition that may name some segments."""
        depth = self.randint(0, min(3, self._size)) if depth is None else depth
        kind = self.randrange(5) if depth else 4
        if kind == 4:
            if names and self.likely(0.25):
                return {"segment": self.choice(names)}
            return self.leaf()
        if kind == 3:
            return {"not": self.condition(names, depth - 1)}
        items = [self.condition(names, depth - 1) for _ in range(self.choice([0, 1, 2, 2, 3]))]
        return {self.choice(["all", "any"]): items}

    def segments(self) -> dict[str, Json]:
        """Return the segments that flags may name; later ones name earlier ones."""
        made: dict[str, Json] = {}
        for index, name in enumerate(SEGMENTS):
            made[name] = {
                "when": self.condition(SEGMENTS[:index]),
                "included": self.sample(["u-1", "ä", "1"], self.randint(0, 2)),
                "excluded": self.sample(["u-2", "Ä"], self.randint(0, 1)),
            }
        return made

    # what is served

    def arms(self, variants: list[str] | None = None) -> list[Json]:
        """Return arms whose weights sum to 100,000, each variant once."""
        names = self.sample(variants or VARIANTS, self.randint(1, len(variants or VARIANTS)))
        cuts = sorted(self.choice([0, 100_000, self.randint(0, 100_000)]) for _ in names[1:])
        bounds = zip([0, *cuts], [*cuts, 100_000], strict=True)
        return [
            {"variant": name, "weight": high - low}
            for name, (low, high) in zip(names, bounds, strict=True)
        ]

    def _ranged_arms(self) -> list[Json]:
        """Return arms whose buckets are scattered over many ranges."""
        cuts = sorted({self.randint(1, 99_999) for _ in range(self.randrange(8))})
        held: dict[str, list[list[int]]] = {}
        for low, high in zip([0, *cuts], [*cuts, 100_000], strict=True):
            held.setdefault(self.choice(VARIANTS), []).append([low, high])
        return [
            {"variant": name, "weight": sum(high - low for low, high in ranges), "ranges": ranges}
            for name, ranges in held.items()
        ]

    def serve(self) -> Json:
        """Return what a rule or the fallthrough serves."""
        kind = self.randrange(4)
        if kind < 2:
            return {"variant": self.choice(VARIANTS)}
        by = self.choice(UNIT_ATTRIBUTES)
        split: Json = {"by": by} if by != "targetingKey" or self.likely(0.5) else {}
        if kind == 2:
            arms = self.arms() if self.likely(0.5) else self._ranged_arms()
            return {"rollout": {"arms": arms, **split}}
        variant, other = self.sample(VARIANTS, 2)
        start, end = self._ends([text for text in MOMENTS if ".0005" not in text])
        ramp = {"variant": variant, "else": other, "start": start, "end": end, **split}
        for name in ("from", "to"):
            if self.likely(0.5):
                ramp[name] = self.choice([0, 100_000, 50_000, self.randint(0, 100_000)])
        return {"ramp": ramp}

    def window(self) -> Json:
        """Return a span in which a rule is active."""
        since, until = self._ends(MOMENTS)
        window: Json = {"from": since, "until": until}
        for name in ("from", "until"):
            if self.likely(0.3):
                window[name] = None
            elif self.likely(0.2):
                del window[name]
        return window

    def _ends(self, moments: list[str]) -> tuple[str, str]:
        """Return two of the moments with at least a millisecond between them."""
        start, end = sorted(self.sample(moments, 2), key=_instant)
        far = _instant(end) - _instant(start) >= timedelta(milliseconds=1)
        return (start, end) if far else (MOMENTS[7], MOMENTS[0])

    # flags

    def definition(self, others: list[str] | None = None) -> Json:
        """Return a flag as a sidecar is sent it, valid; it may ask others."""
        definition: Json = {
            "type": "string",
            "variants": {name: f"value of {name}" for name in VARIANTS},
            "salt": self.choice(["f3b1", "s", "a/b"]),
            "enabled": self.likely(0.9),
            "fallthrough": self.serve(),
            "rules": [],
        }
        if self.likely(0.5):
            definition["off_variant"] = self.choice(VARIANTS)
        if self.likely(0.3):
            units = self.sample(TEXTS[1:], self.randint(0, 4))
            definition["targets"] = [
                {"variant": "on", "units": units[:2]},
                {"variant": "third", "units": units[2:]},
            ]
        if self.likely(0.5):
            definition["metadata"] = {"team": "a", "level": 3, "live": True}
        if others and self.likely(0.5):
            definition["prerequisites"] = [
                {"flag": key, "variants": self.sample(VARIANTS, self.randint(2, 4))}
                for key in self.sample(others, self.randint(1, min(2, len(others))))
            ]
        for index in range(self.randint(0, self._size)):
            rule = {"when": self.condition(SEGMENTS), "serve": self.serve()}
            if self.likely(0.5):
                rule["id"] = f"rule-{index}"
            if self.likely(0.25):
                rule["active"] = self.window()
            definition["rules"].append(rule)
        return definition

    def world(self) -> World:
        """Return a project whose flags ask each other, some in a circle, some not there at all."""
        keys = FLAGS[: 1 + self.randint(0, min(4, self._size))]
        flags: dict[str, Json] = {}
        broken = set()
        for index, key in enumerate(keys):
            flags[key] = self.definition(FLAGS[:index] + (["gone"] if self.likely(0.1) else []))
            if self.likely(0.05):
                flags[key]["fallthrough"] = {"variant": "nobody has it"}
                broken.add(key)
        if self.likely(0.2):
            first, last = self.choice(keys), self.choice(keys)
            wanted = {"flag": last, "variants": ["on", "off"]}
            asked = flags[first].setdefault("prerequisites", [])
            if last not in [w["flag"] for w in asked]:
                asked.append(wanted)
        return World(flags, self.segments(), frozenset(broken))


# Strategies


def _made(make: Callable[[Maker], Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda seed, size: make(Maker(seed, size)), st.integers(0, 2**32 - 1), st.integers(0, 5)
    )


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def contexts() -> st.SearchStrategy[Json]:
    """Draw a context: JSON, of any types at any place."""
    return _made(Maker.context)


def conditions(names: list[str]) -> st.SearchStrategy[Json]:
    """Draw condition trees that may name some segments."""
    return _made(lambda maker: maker.condition(names))


def segments() -> st.SearchStrategy[dict[str, Json]]:
    """Draw definitions of the segments that flags may name; later ones name earlier ones."""
    return _made(Maker.segments)


def arms(variants: list[str] | None = None) -> st.SearchStrategy[list[Json]]:
    """Draw arms whose weights sum to 100,000, each variant once."""
    return _made(lambda maker: maker.arms(variants))


def definitions() -> st.SearchStrategy[Json]:
    """Draw a flag as a sidecar is sent it, valid, as JSON; it asks no other."""
    return _made(Maker.definition)


def makers() -> st.SearchStrategy[Maker]:
    """Draw a maker of anything."""
    return _made(lambda maker: maker)


def worlds() -> st.SearchStrategy[tuple[World, Maker]]:
    """Draw a project, and a maker of contexts for it."""
    return _made(lambda maker: (maker.world(), maker))

"""The scenarios: which flags are asked for, and for whom, in a form that every system can say.

A rule serves `a`, or splits its users in halves between `a` and `b`; whom no rule matches has
`none`. The model knows for each context what may be answered, which is what servers are held to: a
server that is fast and wrong is no figure. Systems hash users in ways of their own, so of a split
either half is right. Pure; `loadtests.formats` writes the flags as each system reads them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "SCENARIOS",
    "Condition",
    "Context",
    "Flag",
    "FlagSet",
    "Rule",
    "Scenario",
    "segmented",
    "users_with_traits",
]

Context = dict[str, Any]

_COUNTRIES = ("DE", "FR", "PL", "US")
_FEW_USERS = 50
_WORDS = ("what", "those", "users", "are", "shown", "in", "words", "of", "which", "some", "change")
_TRAITS = _SEGMENTS = 15
_DISTINCT = 20_000
"""Contexts where none may be met again soon: more than answers of 100 kB fit a cache."""


@dataclass(frozen=True)
class Condition:
    """A test of one attribute; `op` is one of `in`, `equals`, `not_equals`, `gte`, `lt`,
    `ends_with`. All but `in` have one value."""

    attribute: str
    op: str
    values: tuple[Any, ...]

    def matches(self, context: Context) -> bool:
        """Return whether a context, which has the attribute, fulfils it."""
        value, first = context[self.attribute], self.values[0]
        match self.op:
            case "in" | "equals":
                return value in self.values
            case "not_equals":
                return bool(value != first)
            case "gte":
                return bool(value >= first)
            case "lt":
                return bool(value < first)
            case "ends_with":
                return bool(value.endswith(first))
        raise ValueError(self.op)


@dataclass(frozen=True)
class Rule:
    """Conditions that must all hold, its own or those of a segment, and whether it splits."""

    conditions: tuple[Condition, ...] = ()
    segment: str | None = None
    split: bool = True


@dataclass(frozen=True)
class Flag:
    """A flag with variants `a`, `b` and `none`; one without rules serves `a` to everybody."""

    key: str
    variants: dict[str, Any]
    rules: tuple[Rule, ...] = ()

    @property
    def type(self) -> str:
        """Its type, in OpenFeature's words."""
        return {bool: "boolean", str: "string", dict: "object"}[type(self.variants["a"])]


@dataclass(frozen=True)
class FlagSet:
    """Flags, and the segments that they name."""

    flags: tuple[Flag, ...]
    segments: dict[str, tuple[Condition, ...]] = field(default_factory=dict)

    def conditions(self, rule: Rule) -> tuple[Condition, ...]:
        """Return the conditions of a rule, also where they are a segment's."""
        return rule.conditions if rule.segment is None else self.segments[rule.segment]

    def possible(self, flag: Flag, context: Context) -> tuple[str, ...]:
        """Return the variants that a right answer may have."""
        for rule in flag.rules:
            if all(condition.matches(context) for condition in self.conditions(rule)):
                return ("a", "b") if rule.split else ("a",)
        return ("none",) if flag.rules else ("a",)


@dataclass(frozen=True)
class Scenario:
    """What is asked, of which flags, for whom."""

    name: str
    what: str
    flags: Callable[[], FlagSet]
    contexts: Callable[[int], list[Context]]
    count: int  # of contexts, unless the user says
    single: bool = False  # one flag is asked for by its key; otherwise all at once
    not_modified: bool = False  # with the ETag of each context, so that 304 is right


def _text_flag(key: str, conditions: Sequence[Condition]) -> Flag:
    variants = {"a": "first", "b": "second", "none": "neither"}
    return Flag(key, variants, (Rule(tuple(conditions)),))


def _conditions(number: int) -> list[Condition]:
    """Return five conditions; each holds for a half of the users or more, all for an eighth."""
    return [
        Condition("country", "in", tuple(_COUNTRIES[(number + step) % 4] for step in range(3))),
        Condition("age", "gte", (18 + number % 20,)),
        Condition("plan", "not_equals", ("trial",)),
        Condition("build", "lt", (200 + number % 200,)),
        Condition("email", "ends_with", ("@example.com",)),
    ]


def users(count: int) -> list[Context]:
    """Return contexts of as many different users."""
    return [_user(number) for number in range(count)]


def returning_users(count: int) -> list[Context]:
    """Return contexts of few users, different only in an attribute that no flag reads."""
    return [{**_user(number % _FEW_USERS), "session": f"s-{number}"} for number in range(count)]


def _user(number: int) -> Context:
    mixed = (number + 1) * 48_271 % 2_147_483_647  # so that attributes do not go together
    mixed, country = divmod(mixed, 4)
    mixed, age = divmod(mixed, 90)
    mixed, plan = divmod(mixed, 3)
    mixed, domain = divmod(mixed, 2)
    return {
        "targetingKey": f"user-{number}",
        "country": _COUNTRIES[country],
        "age": age,
        "plan": ("free", "pro", "trial")[plan],
        "email": f"user-{number}@example.{('com', 'org')[domain]}",
        "build": mixed % 400,
    }


def one() -> FlagSet:
    """Return one flag with two conditions and a split."""
    return FlagSet((_text_flag("load-single", _conditions(0)[:2]),))


def five() -> FlagSet:
    """Return five such flags."""
    return FlagSet(tuple(_text_flag(f"load-{n}", _conditions(n)[:2]) for n in range(5)))


def many() -> FlagSet:
    """Return 350 flags as a large application has them, of about 100 kB when all are answered.

    Of ten, two are switches for everybody, five are texts with one to five conditions, and three
    are objects with two conditions; all but the switches are split.
    """
    return FlagSet(tuple(_one_of_many(number) for number in range(350)))


def _one_of_many(number: int) -> Flag:
    key, kind = f"load-{number:03}", number % 10
    if kind < 2:
        return Flag(key, {"a": True, "b": False, "none": False})
    if kind < 7:
        variants = {
            name: f"{name}: {' '.join(_WORDS[number % 3 :] + _WORDS + _WORDS)}"
            for name in ("a", "b", "none")
        }
        return Flag(key, variants, (Rule(tuple(_conditions(number)[: kind - 1])),))
    configs = {name: _config(name, number) for name in ("a", "b", "none")}
    return Flag(key, configs, (Rule(tuple(_conditions(number)[1:3])),))


def _config(name: str, number: int) -> dict[str, Any]:
    return {
        "name": f"configuration {name} of {number}",
        "endpoint": f"https://{name}.service-{number}.example.com/v2/items",
        "limits": {"per_minute": 100 + number, "burst": 20, "timeout_ms": 1_500},
        "layout": ["header", "search", "recommendations", "basket", "footer"],
        "colors": {"background": "#f4f1ea", "text": "#222222", "accent": "#b3202c"},
        "texts": {"title": "Welcome back", "button": "Continue to the checkout, step 2"},
        "contact": "help@example.com, on working days from nine to five",
        "enabled": name != "none",
    }


def segmented(flags: int = 50, each: int = _SEGMENTS) -> FlagSet:
    """Return flags with rules for `each` of 15 segments, whose conditions read 15 traits.

    A segment has three conditions, and holds a fifth of `users_with_traits` or so.
    """
    variants = {"a": "first", "b": "second", "none": "neither"}
    made = tuple(
        Flag(
            f"load-{number:02}",
            variants,
            tuple(
                Rule(segment=f"segment-{(number * each + place) % _SEGMENTS}", split=place % 3 == 2)
                for place in range(each)
            ),
        )
        for number in range(flags)
    )
    return FlagSet(made, {f"segment-{n}": _segment(n) for n in range(_SEGMENTS)})


def _segment(number: int) -> tuple[Condition, ...]:
    one, two, three = (3 * ((number + step) % 5) for step in range(3))
    return (
        Condition(f"trait-{one}", "gte", (2,)),
        Condition(f"trait-{two + 1}", "in", ("value-1", "value-2", "value-5")),
        Condition(f"trait-{three + 2}", "not_equals", ("3@example.com",)),
    )


def users_with_traits(count: int) -> list[Context]:
    """Return contexts of as many users, with 15 attributes beside the targeting key."""
    return [
        {
            "targetingKey": f"user-{n}",
            **{f"trait-{t}": (n * 7 + t) % 5 for t in range(0, _TRAITS, 3)},
            **{f"trait-{t}": f"value-{(n + t) % 7}" for t in range(1, _TRAITS, 3)},
            **{f"trait-{t}": f"{(n * t) % 11}@example.com" for t in range(2, _TRAITS, 3)},
        }
        for n in range(count)
    ]


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "single",
            "one flag with two conditions and a percentage split",
            one,
            users,
            1_000,
            single=True,
        ),
        Scenario("bulk5", "5 such flags at once", five, users, 1_000),
        Scenario(
            "bulk350", "350 flags at once, about 100 kB, distinct users", many, users, _DISTINCT
        ),
        Scenario(
            "bulk350-repeated",
            f"the same for {_FEW_USERS} users, in contexts that differ in what no flag reads",
            many,
            returning_users,
            1_000,
        ),
        Scenario(
            "heavy50",
            "50 flags x 15 segments x 15 traits at once, distinct users",
            segmented,
            users_with_traits,
            _DISTINCT,
        ),
        Scenario(
            "notmodified",
            "bulk350 with the ETag of each context, answered with 304",
            many,
            users,
            1_000,
            not_modified=True,
        ),
    )
}

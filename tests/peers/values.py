"""Values that make systems disagree: numbers near every edge, texts of every plane, look-alikes."""

from random import Random
from typing import Any

__all__ = [
    "NUMBERS",
    "TEXTS",
    "UNITS",
    "VERSIONS",
    "chance",
    "number",
    "some",
    "text",
    "unit",
    "value",
]

TEXTS = (
    "", " ", "a", "A", "b", "ab", "abc", "ABC", "0", "1", "-1", "1.0", "01", " 1 ", "1e3", "0x1F",
    "true", "false", "null", "undefined", "NaN", "Infinity", "[object Object]", "user", "user-1",
    "USER-1", "user-2", "user-12", "é", "É", "ß", "SS", "İ", "\u0131", "\u017f", "K",
    "漢字", "😀", "😁", "a😀b",
    "\ufffd", "\ud7ff\ue000", "e\u0301", "a,b", "a.b", "a/b", "a\nb", "line\u2028end", "x" * 300,
    "NL", "DE", "nl", "example.com", "me@example.com", "me@EXAMPLE.COM", "constructor",
    "__proto__",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 3, 5, 10, 100, 0.5, 1.5, -0.5, 0.1, 0.3, 1e-7, 1e21, 1e300, -1e300, 5e-324,
    2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**53, 2**53 + 2, -(2**53), 1.0, 3.14, 1700000000000,
)  # fmt: skip
VERSIONS = (
    "1.0.0", "1.2.3", "1.2.4", "1.10.0", "2.0.0", "1.2.3-alpha", "1.2.3-alpha.1",
    "1.2.3-alpha.beta", "1.2.3-beta.2", "1.2.3-beta.11", "1.2.3-rc.1", "1.2.3+build",
    "1.2.3-rc.1+b.2", "1", "1.2", "v1.2.3", "01.2.3", "1.02.3", "1.2.3-01", "1.2.3-0", "1.2.3.4",
    "1.2.3-", "1.2.3 ", " 1.2.3", "x.y.z", "", "99999999999999999999.0.0", "1.2.3--", "1.2.3-a-b",
    "1.2.3-A", "V1.2.3", "=1.2.3", "1.2.3-é",
)  # fmt: skip
UNITS = (
    "u-1", "u-2", "u-3", "", "0", "é", "漢字", "😀", "user@example.com", "a:b", " u ", "null",
)  # fmt: skip


def chance(random: Random, of: float) -> bool:
    return random.random() < of


def often(random: Random, of: float, name: str, made: Any) -> dict[str, Any]:
    """Return a member in so many of all cases, else nothing."""
    return {name: made} if chance(random, of) else {}


def some(random: Random, make: Any, least: int, most: int) -> list[Any]:
    return [make() for _ in range(random.randint(least, most))]


def text(random: Random) -> str:
    if chance(random, 0.85):
        return random.choice(TEXTS)
    return "".join(random.choice("ab1 é😀.-_/ABZ") for _ in range(random.randint(0, 8)))


def number(random: Random) -> int | float:
    if chance(random, 0.7):
        return random.choice(NUMBERS)
    return random.choice((random.randint(-100, 100), random.random() * 100))


def unit(random: Random) -> str:
    return random.choice(UNITS) if chance(random, 0.3) else f"user-{random.randint(0, 10**9)}"


def value(random: Random, depth: int = 2) -> Any:
    """Return any JSON value."""
    kind = random.random()
    if kind < 0.45:
        return text(random)
    if kind < 0.7:
        return number(random)
    if kind < 0.8:
        return random.choice((True, False))
    if kind < 0.86 or depth == 0:
        return None
    if kind < 0.94:
        return some(random, lambda: value(random, depth - 1), 0, 3)
    return {random.choice("abcd12"): value(random, depth - 1) for _ in range(random.randint(0, 3))}

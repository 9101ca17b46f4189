"""The hashes of other systems, by published values; the number a context gets; exact cut points."""

import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.engine import hashing
from proxy.engine.bucketing import bucket, salt_prefix, text_bytes, unit_bytes
from proxy.engine.hashing import HASH_BITS, HASHES, NO_NUMBER, first_number, number_of
from proxy.engine.program import Bucketing, Operand, Part
from tests.conformance.harness import suite
from tests.proxy.engine.floats import float32
from tests.proxy.engine.reference import lookup
from tests.proxy.engine.strategies import any_json, contexts
from tests.vectors.murmur3 import murmur3_x86_32

FOX = b"The quick brown fox jumps over the lazy dog"
GROWTHBOOK = [
    ("", "a", 1, 0.22),
    ("b", "a", 1, 0.946),
    ("asdf", "8952klfjas09ujk", 1, 0.549),
    ("", '___)((*":&', 1, 0.563),
    ("seed", "a", 2, 0.0505),
    ("foo", "def", 2, 0.2019),
    ("90850943850283058242805", "123", 2, 0.7516),
]


def utf16(text: str) -> bytes:
    """Return the code units of a text as JavaScript has them."""
    return text.encode("utf-16-le", "surrogatepass")


@pytest.mark.parametrize(
    ("key", "seed", "expected"),
    [
        (b"", 0, 0),
        (b"", 1, 0x514E28B7),
        (b"", 2**32 - 1, 0x81F16F39),
        (b"\0\0\0\0", 0, 0x2362F9DE),
        (b"aaaa", 0x9747B28C, 0x5A97808A),
        (b"test", 0, 0xBA6BD213),
        (b"Hello, world!", 0x9747B28C, 0x24884CBA),
        (FOX, 0, 0x2E4FF723),
        (FOX, 0x9747B28C, 0x2FA826CD),
    ],
)
def test_murmur3_by_well_known_values(key: bytes, seed: int, expected: int) -> None:
    """With and without a seed."""
    assert HASHES["murmur3_32"](key, seed) == expected


@given(st.binary(max_size=40), st.integers(0, 2**32 - 1))
def test_murmur3_takes_any_seed(key: bytes, seed: int) -> None:
    """As another implementation does."""
    assert HASHES["murmur3_32"](key, seed) == murmur3_x86_32(key, seed)


@pytest.mark.parametrize(
    ("group", "unit", "seed", "expected"),
    [
        *[("gr1", "123", 0, 73), ("groupX", "999", 0, 25)],
        *[("gr1", "123", 86028157, 96), ("groupX", "999", 86028157, 60)],
    ],
)
def test_unleash_by_the_values_of_its_clients(
    group: str, unit: str, seed: int, expected: int
) -> None:
    """A rollout has seed 0, variants one of their own."""
    bucketing = Bucketing(
        (group.encode() + b":", Part("userId", text_bytes)), "murmur3_32", seed, "modulo", 100
    )
    assert number_of(bucketing)({"userId": unit}) + 1 == expected


@pytest.mark.parametrize(
    ("hashed", "expected"),
    [
        ("55076f83", 2**31),  # the most negative one, which has no positive twin in 32 bits
        ("679a266c", 2**31 - 1),
        ("500d473b", 2**31 - 1),
        ("b4f3c777", 1),
        ("7a9b47c2", 0),
    ],
)
def test_the_absolute_value_of_a_signed_hash(hashed: str, expected: int) -> None:
    """These four bytes hash to 80000000, 80000001, 7fffffff, ffffffff and 0."""
    assert HASHES["murmur3_32_abs"](bytes.fromhex(hashed), 0) == expected


@given(st.binary(max_size=20))
def test_the_absolute_value_by_its_definition(key: bytes) -> None:
    """Take the hash as a signed integer, then drop the sign."""
    signed = struct.unpack("<i", struct.pack("<I", murmur3_x86_32(key)))[0]
    assert HASHES["murmur3_32_abs"](key, 0) == abs(signed)


@pytest.mark.parametrize(
    ("key", "expected"), [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"foobar", 0xBF9CF968)]
)
def test_fnv1a_by_the_values_of_its_authors(key: bytes, expected: int) -> None:
    """Also over code units, as long as each is a byte."""
    assert HASHES["fnv1a_32"](key, 0) == expected
    assert HASHES["fnv1a_32_utf16"](utf16(key.decode()), 0) == expected


@given(st.text() | st.text("aé\xff日😀", max_size=8))
@example("\ud800")
def test_fnv1a_over_code_units_by_its_definition(text: str) -> None:
    """Each step takes a whole code unit, which is not the same as two bytes."""
    units = [
        int.from_bytes(utf16(text)[i : i + 2], "little") for i in range(0, len(utf16(text)), 2)
    ]
    h = 0x811C9DC5
    for unit in units:
        h = ((h ^ unit) * 0x01000193) % 2**32
    assert HASHES["fnv1a_32_utf16"](utf16(text), 0) == h


def test_code_units_above_a_byte_are_not_hashed_as_bytes() -> None:
    """Or every text that is not Latin would get another number than in GrowthBook."""
    assert HASHES["fnv1a_32_utf16"](utf16("日"), 0) != HASHES["fnv1a_32"](utf16("日"), 0)


def growthbook(seed: str, value: str, version: int) -> float:
    """Return GrowthBook's number between 0 and 1, from this module's hashes."""
    if version == 1:
        return HASHES["fnv1a_32_utf16"](utf16(value + seed), 0) % 1_000 / 1_000
    return HASHES["fnv1a_32_utf16_x2"](utf16(seed + value), 0) % 10_000 / 10_000


@pytest.mark.parametrize(("seed", "value", "version", "expected"), GROWTHBOOK)
def test_growthbook_by_published_values(
    seed: str, value: str, version: int, expected: float
) -> None:
    """Both versions of its hash."""
    assert growthbook(seed, value, version) == expected


def test_growthbook_by_its_suite() -> None:
    """Every case of a known version, and every namespace."""
    file = suite("growthbook-sdk-js") / "packages/sdk-js/test/cases.json"
    cases = json.loads(file.read_text())
    hashes = [case for case in cases["hash"] if case[2] in (1, 2)]
    assert len(hashes) >= 14
    for seed, value, version, expected in hashes:
        assert growthbook(seed, value, version) == expected
    assert len(cases["inNamespace"]) >= 16
    for _, value, (name, start, end), expected in cases["inNamespace"]:
        assert (start <= growthbook("__" + name, value, 1) < end) is expected


@pytest.mark.parametrize(
    ("prefix", "unit", "expected"),
    [
        ("hashKey.saltyA.", "userKeyA", 0.42157587),
        ("hashKey.saltyA.", "userKeyB", 0.6708485),
        ("hashKey.saltyA.", "userKeyC", 0.10343106),
        ("hashKey.saltyA.", "33333", 0.54771423),
        ("hashKey.saltyA.", "99999", 0.7309658),
        ("61.", "userKeyA", 0.09801207),
        ("61.", "userKeyB", 0.14483777),
        ("61.", "userKeyC", 0.9242641),
    ],
)
def test_launchdarkly_by_published_values(prefix: str, unit: str, expected: float) -> None:
    """By flag and salt, and by seed; the published values have single precision."""
    h = HASHES["sha1_60"](f"{prefix}{unit}".encode(), 0)
    found = float32(float32(h) / float32(0xFFFFFFFFFFFFFFF))
    assert found == float32(expected)


def test_the_other_hashes_by_well_known_values() -> None:
    """The test inputs that the descriptions of CRC-32, SHA-1 and MD5 come with."""
    assert HASHES["crc32"](b"123456789", 0) == 0xCBF43926
    assert HASHES["sha1_60"](b"abc", 0) == 0xA9993E364706816
    assert HASHES["md5_9999"](b"abc", 0) == 0x900150983CD24FB0D6963F7D28E17F72 % 9_999


def flagsmith(identifiers: list[str], iterations: int = 1) -> float:
    """Return the percentage of some identifiers by the formula as Flagsmith writes it."""
    text = ",".join(identifiers * iterations)
    value = int(hashlib.md5(text.encode()).hexdigest(), 16) % 9_999 / 9_998 * 100
    return flagsmith(identifiers, iterations + 1) if value == 100 else value


@pytest.mark.parametrize(
    "identifiers", [["3", "1627"], ["2", "16123"], ["4", "17007"], ["12", "93"], ["", "é"]]
)
def test_a_hundred_percent_is_drawn_again(identifiers: list[str]) -> None:
    """The first three give exactly 100 at first."""
    number = HASHES["md5_9999"](",".join(identifiers).encode(), 0)
    assert number / 9_998 * 100 == flagsmith(identifiers)
    assert 0 <= number < 9_998


def test_a_hundred_percent_is_drawn_as_often_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is written once, twice, three times."""
    seen: list[bytes] = []

    class Digest:
        def digest(self) -> bytes:
            return (9_998 if len(seen) < 3 else 7).to_bytes(16, "big")

    def md5(text: bytes, **_: Any) -> Digest:
        seen.append(text)
        return Digest()

    monkeypatch.setattr(hashing, "md5", md5)
    assert HASHES["md5_9999"](b"1,2", 0) == 7
    assert seen == [b"1,2", b"1,2,1,2", b"1,2,1,2,1,2"]


@pytest.mark.parametrize("name", HASHES)
@given(key=st.binary(max_size=50))
def test_a_hash_has_as_many_bits_as_is_said(name: str, key: bytes) -> None:
    """And it is a pure function of any bytes, of odd length too."""
    h = HASHES[name](key, 0)
    assert 0 <= h < 2 ** HASH_BITS[name]
    assert HASHES[name](key, 0) == h


def test_every_hash_says_its_bits() -> None:
    """One table does not run ahead of the other."""
    assert list(HASHES) == list(HASH_BITS)


# The number of a context


def ours(salt: str, attribute: str | Operand = "targetingKey") -> Bucketing:
    """Return how our own definitions bucket."""
    part = Part(attribute, unit_bytes)
    return Bucketing((salt_prefix(salt), part), reduce="scale", size=100_000)


def test_the_number_of_our_own_bucketing_is_the_bucket() -> None:
    """By the check values of the flag model."""
    assert number_of(ours("f3b1"))({"targetingKey": "u-1"}) == bucket("f3b1", "u-1") == 86_271
    assert number_of(ours("f3b1", "n"))({"n": 42.0}) == 96_669


@given(contexts(), st.sampled_from(["targetingKey", "a.b", "list[0]", "n", "[0]"]))
def test_the_number_is_by_the_value_that_a_name_finds(context: dict[str, Any], name: str) -> None:
    """With the paths of every other attribute, and -1 for what is no unit; nothing raises."""
    value = lookup(context, name)
    by_fetch = Operand("the same", lambda _: value, None)
    number = number_of(ours("s", name))(context)
    assert number == number_of(ours("s", by_fetch))(context)
    unit = unit_bytes(value)
    assert number == (NO_NUMBER if unit is None else bucket("s", unit.decode()))


def test_a_member_with_a_dot_in_its_name_comes_first() -> None:
    """As in conditions, also where it is null."""
    number = number_of(ours("s", "a.b"))
    assert number({"a.b": "x", "a": {"b": "y"}}) == bucket("s", "x")
    assert number({"a": {"b": "y"}}) == bucket("s", "y")
    assert number({"a.b": None, "a": {"b": "y"}}) == NO_NUMBER


def test_a_key_has_its_parts_in_order() -> None:
    """Constants before, between and after; without any one part there is no number."""
    key = (Part("a", text_bytes), b"-", b"x-", Part("b", text_bytes), b"!")
    number = number_of(Bucketing(key, "crc32"))
    assert number({"a": "1", "b": "2"}) == crc32(b"1-x-2!")
    assert number({"a": "1"}) == number({"b": "2"}) == number({}) == NO_NUMBER


def test_a_key_may_have_constants_on_both_sides() -> None:
    """Several on a side are one."""
    key = (b"a", b"b", Part("u", text_bytes), b"c", b"d")
    number = number_of(Bucketing(key, "crc32"))
    assert number({"u": "-"}) == crc32(b"ab-cd")
    assert number({}) == NO_NUMBER


def test_a_key_of_constants_is_a_number_for_everybody() -> None:
    """And an empty one too."""
    assert number_of(Bucketing((b"a", b"b"), "crc32"))({}) == crc32(b"ab")
    assert number_of(Bucketing((), "crc32"))({}) == 0


def test_an_encoding_may_take_what_is_missing_for_something() -> None:
    """Some system writes it as a text; it is the encoding that knows."""
    part = Part("a", lambda value: b"null" if value is None else b"other")
    assert number_of(Bucketing((part,), "crc32"))({}) == crc32(b"null")


@given(st.binary(max_size=12), st.sampled_from(list(HASHES)), st.integers(1, 10**6))
def test_the_three_reductions(unit: bytes, name: str, size: int) -> None:
    """The hash itself; its remainder; its place on a scale of 32 bits."""

    def number(reduce: Any) -> int:
        part = Part("u", lambda _: unit)
        return number_of(Bucketing((part,), name, 0, reduce, size))({})

    h = HASHES[name](unit, 0)
    assert number("none") == h
    assert number("modulo") == h % size
    assert number("scale") == h * size // 2**32


@given(any_json)
def test_text_is_bytes_only_when_it_is_text(value: Any) -> None:
    """`targetingKey` is a string; a number there is no unit, though elsewhere it is."""
    found = text_bytes(value)
    assert found == (unit_bytes(value) if isinstance(value, str) else None)


# Cut points


@given(st.integers(0, 300), st.integers(-5, 305))
def test_the_first_number_is_the_smallest_that_holds(size: int, start: int) -> None:
    """Against looking at each; the size where none holds."""
    found = first_number(size, lambda number: number >= start)
    assert found == next((n for n in range(size) if n >= start), size)


def single(h: int) -> float:
    """Return LaunchDarkly's number between 0 and 1 as Go and Java compute it."""
    return float32(float32(h) / float32(0xFFFFFFFFFFFFFFF))


def double(h: int) -> float:
    """Return the same as the others compute it."""
    return float(h) / float(0xFFFFFFFFFFFFFFF)


@pytest.mark.parametrize("bucketed", [single, double])
@pytest.mark.parametrize("weight", [1, 33_333, 50_000, 66_667, 90_000, 99_999])
def test_a_comparison_of_floats_is_one_of_integers(
    bucketed: Callable[[int], float], weight: int
) -> None:
    """Just below the cut point and at it, in single and in double precision."""
    share = float32(weight / 100_000) if bucketed is single else weight / 100_000
    cut = first_number(2**60, lambda h: not bucketed(h) < share)
    assert 0 < cut < 2**60
    for h in range(cut - 40, cut + 40):
        assert (h < cut) == (bucketed(h) < share)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 2**59 - 2**34), (0.25, 2**58 - 2**33), (1.0, 2**60 - 2**35)]
)
def test_the_cut_points_that_single_precision_makes(share: float, expected: int) -> None:
    """Halfway to the next lower number of 24 bits, which is where rounding goes up to even."""
    assert first_number(2**60, lambda h: not single(h) < share) == expected


def test_growthbooks_coverage_includes_its_end() -> None:
    """A tenth of a thousand numbers is 101 of them."""
    assert first_number(1_000, lambda n: not n / 1_000 <= 0.1) == 101


@pytest.mark.parametrize("weights", [[1, 1, 1], [75, 25], [5, 0, 95]])
def test_flagds_first_formula_has_cut_points(weights: list[int]) -> None:
    """A running sum of floating-point percentages, each met by an integer."""
    total, share = sum(weights), 0.0
    for weight in weights:
        share += weight * 100 / total

        def outside(h: int, share: float = share) -> bool:
            return not abs(float(h)) / 2147483647 * 100 < share

        cut = first_number(2**31 + 1, outside)
        assert cut == 2**31 + 1 or outside(cut)
        assert cut == 0 or not outside(cut - 1)

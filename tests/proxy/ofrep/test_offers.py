"""What bulk answers say of event streams, and whose token a token is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.access import hash_key
from proxy.ofrep.auth import ANONYMOUS
from proxy.ofrep.offers import WINDOW_MS, Offers, find_identity

NOW_MS = 1_796_000_000_000
ONE, TWO = hash_key("mf_client_" + "a" * 43), hash_key("mf_client_" + "b" * 43)


def uri(offers: Offers, identity: str, now_ms: int = NOW_MS) -> str:
    """Return the path in an offer, which is one member of an object."""
    document = json.loads(b'{"flags":[]' + offers.of(identity, now_ms) + b"}")
    (stream,) = document["eventStreams"]
    found: str = stream["endpoint"]["requestUri"]
    return found


def token(identity: str, now_ms: int = NOW_MS) -> str:
    """Return the token that somebody with this key gets."""
    return uri(Offers(), identity, now_ms).partition("?token=")[2]


def test_who_needs_no_key_needs_no_token() -> None:
    """A prefix comes before our path, as `endpoint` has no other place for it."""
    assert uri(Offers(), ANONYMOUS) == "/ofrep/v1/streams"
    assert uri(Offers("/a/b"), ANONYMOUS) == "/a/b/ofrep/v1/streams"


def test_a_token_is_known_for_one_to_two_hours() -> None:
    """In its window and in the next, neither before nor after."""
    began_ms = NOW_MS - NOW_MS % WINDOW_MS
    mine = token(ONE)
    for now_ms, whose in (
        (began_ms - 1, None),
        (began_ms, ONE),
        (began_ms + 2 * WINDOW_MS - 1, ONE),
        (began_ms + 2 * WINDOW_MS, None),
    ):
        assert find_identity([TWO, ONE], mine, now_ms) == whose


def test_a_url_stays_the_same_for_a_window() -> None:
    """So that pages go on with their streams; and everybody makes the same."""
    began_ms = NOW_MS - NOW_MS % WINDOW_MS
    assert token(ONE, began_ms) == token(ONE, began_ms + WINDOW_MS - 1)
    assert token(ONE, began_ms) != token(ONE, began_ms + WINDOW_MS)
    assert token(ONE) != token(TWO)
    offers = Offers()
    assert offers.of(ONE, began_ms) == offers.of(ONE, began_ms)
    assert offers.of(ONE, began_ms + WINDOW_MS) == Offers().of(ONE, began_ms + WINDOW_MS)
    assert uri(offers, ONE, began_ms) == uri(Offers(), ONE, began_ms)  # a clock that was set back


def test_a_token_does_not_show_the_hash_it_is_made_from() -> None:
    """Only enough to find the key; the hash is what signs."""
    mine = token(ONE)
    assert ONE[:8] in mine
    assert ONE[8:16] not in mine


def test_keys_that_begin_alike_are_told_apart() -> None:
    """By the MAC."""
    other = ONE[:8] + TWO[8:]
    assert find_identity([other, ONE], token(ONE), NOW_MS) == ONE
    assert find_identity([other], token(ONE), NOW_MS) is None


def test_a_key_that_could_not_be_read_signs_nothing() -> None:
    """Its place is taken by a name, which is no hash."""
    assert find_identity(["unreadable:k1", "", ONE], token(ONE), NOW_MS) == ONE
    window = NOW_MS // WINDOW_MS
    assert find_identity(["unreadable:k1", ""], f"{window}..{'A' * 22}", NOW_MS) is None


@pytest.mark.parametrize("place", range(len(token(ONE))))
def test_each_character_matters(place: int) -> None:
    """One that is changed makes it a token of nobody, and so do more and fewer."""
    mine = token(ONE)
    for other in "A0f.":
        changed = mine[:place] + other + mine[place + 1 :]
        assert changed == mine or find_identity([ONE, TWO], changed, NOW_MS) is None
    assert find_identity([ONE, TWO], mine[:place], NOW_MS) is None
    assert find_identity([ONE, TWO], mine + mine[: place + 1], NOW_MS) is None


@given(st.text() | st.from_regex(r"\A49888[0-9]\.[0-9a-f]{8}\.[A-Za-z0-9_-]{22}\Z"))
def test_no_text_is_a_token_by_chance_or_raises(text: str) -> None:
    """Half of a surrogate pair neither."""
    assert find_identity([ONE, TWO], text, NOW_MS) is None
    assert find_identity([ONE, TWO], text + "\ud83d", NOW_MS) is None


def test_offers_are_bounded() -> None:
    """Keys that came and went are not remembered for ever."""
    offers = Offers()
    for number in range(3_000):
        offers.of(hash_key(str(number)), NOW_MS)
    assert len(offers._made) <= 1_024

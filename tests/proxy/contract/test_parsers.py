"""Tests of what the text of a setting becomes."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.contract.parsers import is_loopback, number, one_of, origins, port_number, words


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (port_number, "0", 0),
        (port_number, "65535", 65535),
        (number(float, 0.5, 2.0), "0.5", 0.5),
        (words, " a , b,,", ("a", "b")),
        (one_of("text", "json"), "JSON", "json"),
        (origins, "https://A.example, http://localhost:3000", ("https://a.example", "http://localhost:3000")),
        (origins, "*", ("*",)),
        (origins, "", ()),
    ],
)  # fmt: skip
def test_a_text_has_a_value(parse: Callable[[str], Any], text: str, value: Any) -> None:
    """What people write in a manifest or on a command line."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (port_number, "http", "is not a whole number"),
        (port_number, "65536", "is not between 0 and 65535"),
        (port_number, "1.5", "is not a whole number"),
        (number(float, 0.0, 1.0), "nan", "is not between"),
        (number(float, 0.0, 1.0), "inf", "is not between"),
        (number(float, 0.0, 1.0), "soon", "is not a number"),
        (one_of("text", "json"), "xml", "is not one of text, json"),
        (origins, "https://a.example/path", "is not an origin"),
        (origins, "https://user@", "is not an origin"),
        (origins, "a.example", "is not an origin"),
        (origins, "ftp://a.example", "is not an origin"),
        (origins, "https://a.example,b.example", "holds 'b.example', which is not an origin"),
        (origins, "*,https://a.example", "stands alone"),
    ],
)
def test_a_text_that_is_wrong_is_told_why(
    parse: Callable[[str], Any], text: str, said: str
) -> None:
    """The rest of a sentence that starts with the setting's name."""
    with pytest.raises(ValueError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_loopback_is_told_without_resolving(host: str, loopback: bool) -> None:
    """A name other than localhost may resolve to anything."""
    assert is_loopback(host) is loopback

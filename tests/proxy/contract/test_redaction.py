"""Tests of taking secrets out of text."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.redaction import Redactor

KEY = "mf_service_" + "k" * 43
REFRESH = "mf_refresh_s_0123456789abcdef." + "r" * 43
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"


@given(st.text(min_size=6), st.text(), st.text())
def test_a_value_is_in_no_line_however_it_is_written(value: str, before: str, after: str) -> None:
    """As it is, in a URL, in base64, and as JSON or Python show it."""
    raw = value.encode()
    written = [
        value,
        quote(value, safe=""),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
    ]
    redact = Redactor([value])
    for form in written:
        if form.rstrip("=") not in before + after + "***":
            assert form not in redact(f"{before}\n{form}\n{after}")


@pytest.mark.parametrize("secret", [KEY, REFRESH, JWT])
@pytest.mark.parametrize("line", ["GET /api/v1/flags/{} 404", '{{"token":"{}"}}', "{}"])
def test_keys_and_tokens_are_known_by_their_form(secret: str, line: str) -> None:
    """Whoever they belong to; what kind they are is told, which helps to find out who."""
    shown = Redactor()(line.format(secret))
    assert secret not in shown
    assert "kkkkkkk" not in shown
    assert "rrrrrrr" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("at redis://me:p/a:ss@host:1/0 now", "at redis://me:***@host:1/0 now"),
        ("at redis://:pass@host", "at redis://:***@host"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer ***'}"),
        ("-----BEGIN PRIVATE KEY-----\nMC4C\n-----END", "-----BEGIN PRIVATE KEY-----***-----END"),
    ],
)
def test_so_are_passwords_in_addresses_headers_and_private_keys(line: str, shown: str) -> None:
    """With what surrounds them left for the reader."""
    redact = Redactor()
    assert redact(line).replace("\n", "") == shown.replace("\n", "")


def test_ordinary_lines_stay_as_they_are() -> None:
    """The prefix of a key, an id, an address and an entity tag are what people look for."""
    line = (
        'the key mf_server_abcdef... of http://127.0.0.1:8000/api/v1/flags/a "s_0123456789abcdef" '
        "u_0123456789abcdef took 12.3 ms; short, tokens"
    )
    assert Redactor(["short", ""])(line) == line

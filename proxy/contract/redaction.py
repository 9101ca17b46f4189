"""Text without the secrets in it, whoever put them there: for log lines.

A second net. What may be logged is decided where it is logged; this catches the key that somebody
wrote into a path, and the address that a library quotes. Secrets are known by their form (keys,
tokens, passwords in addresses, private keys) and, those of settings, by their value: as it is,
percent-encoded, and in base64. Pure.
"""

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

__all__ = ["Redactor"]

_MARK = "***"
_MIN_CHARS = 6  # a shorter value may be an ordinary word, and is no secret worth the name
_FORMS = (
    (re.compile(r"\b(mf_[a-z]+_)(?:(?:s_)?[0-9a-f]+\.)?[A-Za-z0-9_-]{20,}"), rf"\1{_MARK}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), _MARK),
    (re.compile(r"(://[^\s/:@]*:)[^\s@]+@"), rf"\1{_MARK}@"),
    (re.compile(r"(authorization\W{1,4}(?:bearer |basic )?)[^\s'\"]+", re.I), rf"\1{_MARK}"),
    (re.compile(r"(PRIVATE KEY-----).*?(?=-----END|$)", re.S), rf"\1{_MARK}"),
)


class Redactor:
    """Takes secrets out of text: those known by their form, and these values."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values if len(value) >= _MIN_CHARS for form in _forms(value)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._values = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def __call__(self, text: str) -> str:
        """Return the text with a mark in each secret's place."""
        if self._values is not None:
            text = self._values.sub(_MARK, text)
        for form, replacement in _FORMS:
            text = form.sub(replacement, text)
        return text


def _forms(value: str) -> set[str]:
    """Return how a value may be written, in text and in what JSON makes of text."""
    raw = value.encode("utf-8", "surrogatepass")
    plain, for_urls = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
    return {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        quote(raw),
        quote(raw, safe=""),
        quote_plus(raw),
        plain.rstrip("="),
        for_urls.rstrip("="),
    }

"""Judges answers under load: each function returns what is wrong with one, or None.

A load test that only counts status codes passes on wrong answers, so every answer is checked for
what its asker can know: the key, the possible variants with their values, a reason of OpenFeature,
and that a unit keeps its variant for as long as nobody changes the flag. Pure; locust reports.
"""

import json
from typing import Any

__all__ = ["Answers", "FlagUnderLoad"]

_REASONS = {"STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "DISABLED"}


class FlagUnderLoad:
    """A flag the load tests made, and what it may answer; nobody changes a `sticky` one."""

    def __init__(self, document: dict[str, Any], *, sticky: bool) -> None:
        self.document = document
        self.key: str = document["key"]
        self.sticky = sticky
        if "variants" in document:
            self.variants: dict[str, Any] = document["variants"]
        else:
            self.variants = {"on": True, "off": False}


class Answers:
    """What was answered so far to whom, bounded by flags x units, and the judgement by it."""

    def __init__(self, flags: list[FlagUnderLoad]) -> None:
        self.flags = {flag.key: flag for flag in flags}
        self._served: dict[tuple[str, str], str] = {}

    def wrong_evaluation(self, status: int, body: bytes, key: str, context: str) -> str | None:
        """Judge a single evaluation of a known flag; `context` names the context it was for."""
        if status != 200:
            return f"status {status}: {body[:200]!r}"
        try:
            document = json.loads(body)
        except ValueError:
            return f"not JSON: {body[:200]!r}"
        if document.get("key") != key:
            return f"asked for {key}, answered {document.get('key')!r}"
        return self.wrong_item(document, context)

    def wrong_item(self, item: dict[str, Any], context: str) -> str | None:
        """Judge one evaluation, alone or of a bulk answer."""
        flag = self.flags.get(item["key"])
        if flag is None:
            return None  # a flag of somebody else's: nothing is known of it
        variant = item.get("variant")
        if variant not in flag.variants:
            return f"{flag.key}: no variant {variant!r}: {item}"
        if item.get("value") != flag.variants[variant]:
            return f"{flag.key}: variant {variant} has another value: {item}"
        if item.get("reason") not in _REASONS:
            return f"{flag.key}: reason {item.get('reason')!r}"
        before = self._served.setdefault((flag.key, context), variant)
        if flag.sticky and before != variant:
            return f"{flag.key}: {context} had {before} and now has {variant}"
        return None

    def wrong_bulk(self, status: int, body: bytes, etag: str | None, context: str) -> str | None:
        """Judge a bulk evaluation: every flag there once, each item right, and an ETag."""
        if status != 200:
            return f"status {status}: {body[:200]!r}"
        if not etag:
            return "no ETag"
        try:
            items = json.loads(body)["flags"]
        except (ValueError, KeyError):
            return f"not a bulk answer: {body[:200]!r}"
        keys = [item["key"] for item in items]
        if len(set(keys)) != len(keys):
            return "a flag is there twice"
        if missing := self.flags.keys() - set(keys):
            return f"{len(missing)} flags are missing, {min(missing)} for one"
        return next((w for i in items if (w := self.wrong_item(i, context)) is not None), None)

    def wrong_unknown(self, status: int, body: bytes) -> str | None:
        """Judge the answer to a key that no flag has."""
        if status != 404:
            return f"status {status}, not 404"
        try:
            code = json.loads(body).get("errorCode")
        except ValueError:
            return f"not JSON: {body[:200]!r}"
        return None if code == "FLAG_NOT_FOUND" else f"errorCode {code!r}"

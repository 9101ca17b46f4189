"""Reads the items of an application's report each by itself: one that is wrong keeps none back."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from proxy.contract.codes import ProblemCode
from proxy.contract.decode import decode
from proxy.contract.problems import Problem
from proxy.contract.reports import MAX_BATCH_ITEMS, Rejected

__all__ = ["read_items", "rejected", "wrong_length"]

_MAX_REASON_CHARS = 200

T = TypeVar("T")


def read_items(
    member: str, items: Sequence[msgspec.Raw], kind: type[T]
) -> tuple[list[T | str] | None, list[Problem]]:
    """Return the items of a report's `member`, or why there is none, at the place of each.

    None and a problem when they are too many.
    """
    if len(items) > MAX_BATCH_ITEMS:
        message = f"{len(items)} items, at most {MAX_BATCH_ITEMS} are taken"
        problem = Problem(f"/{member}", ProblemCode.TOO_MANY, message, "send several reports")
        return None, [problem]
    decoder = msgspec.json.Decoder(kind)
    read: list[T | str] = []
    for raw in items:
        try:
            read.append(decoder.decode(raw))
        except msgspec.MsgspecError:
            read.append(_wrong_with(raw, kind))
    return read, []


def rejected(place: int, reason: str) -> Rejected:
    """Return what is told of an item that was not taken."""
    return Rejected(place, reason[:_MAX_REASON_CHARS])


def wrong_length(what: str, text: str, most: int) -> str | None:
    """Return what is wrong with a text that must be there, and no longer than `most`."""
    if 0 < len(text) <= most:
        return None
    how = f"{len(text)} characters, at most {most} are taken" if text else "is empty"
    return f"{what}: {how}"


def _wrong_with(raw: msgspec.Raw, kind: type[T]) -> str:
    _, problems = decode(raw, kind)
    first = problems[0]
    return f"{first.pointer}: {first.message}" if first.pointer else first.message

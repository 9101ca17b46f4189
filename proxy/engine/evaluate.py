"""One evaluation: a snapshot, a key, a context and the time give an answer. Never raises."""

from typing import Any

from proxy.engine.answers import Answer, not_found
from proxy.engine.compiled import CompiledSnapshot
from proxy.engine.memo import Memo

__all__ = ["evaluate"]


def evaluate(
    snapshot: CompiledSnapshot,
    key: str,
    context: dict[str, Any],
    now_ms: int,
    memo: Memo | None = None,
) -> Answer:
    """Return what a flag answers to a context at a time, in Unix milliseconds.

    The same answer object comes back for the same outcome, for as long as the flag is compiled; an
    unknown key's `FLAG_NOT_FOUND`, status 404, is made anew each time. Evaluations of one context
    at one time may share a `memo`.
    """
    flag = snapshot.flags.get(key)
    return not_found(key) if flag is None else flag.evaluate(context, now_ms, memo)

"""An explanation as text for a terminal: an indented tree, a line for each step and condition.

Marks stand first: `✓` matched, `✗` did not, `·` was not looked at; `▶` is the step that decided.
Steps after that one are a single line. What cannot be seen is written out, so that nothing of a
context or a definition moves a terminal's cursor or shows other text than there is.
"""

from collections.abc import Iterator

import msgspec
from msgspec import UnsetType

from proxy.contract.explanation import ConditionTrace, Explanation, SplitTrace, Step
from proxy.engine.shown import compact

__all__ = ["explanation_text", "result_text"]

_MARKS = {True: "✓", False: "✗", None: "·"}
_DECIDES = "▶"
_INDENT = "    "
_MOST_NAMES = 8


def explanation_text(explanation: Explanation) -> str:
    """Return an explanation as lines, each ended."""
    return _printed(_lines(explanation))


def result_text(result: msgspec.Raw | bytes, because: str = "") -> str:
    """Return an OFREP result as a few lines: the value, and where it comes from."""
    return _printed(_result(msgspec.json.decode(result), because))


def _lines(explanation: Explanation) -> Iterator[str]:
    yield from _result(msgspec.json.decode(explanation.result), explanation.because)
    yield f"  at       {explanation.at}"
    if explanation.nearest:
        yield f"  nearest  {', '.join(explanation.nearest)}"
    for problem in explanation.problems:
        hint = f" ({problem.hint})" if problem.hint else ""
        yield f"  problem  {problem.pointer or '/'}: {problem.message} [{problem.code}]{hint}"
    if explanation.steps:
        yield ""
        yield from _steps(explanation.steps, "")
    if explanation.stale:
        yield ""
        yield "Not answered now: the flags are too old, and applications get their own defaults."
    if explanation.shortened:
        yield ""
        yield "This explanation is shortened: all of it would be too long."


def _result(body: dict[str, object], because: str) -> Iterator[str]:
    yield str(body.get("key", ""))
    if "errorCode" in body:
        yield f"  error    {body['errorCode']}: {body.get('errorDetails', '')}"
    else:
        has = "value" in body
        yield f"  value    {compact(body['value']) if has else 'the default of the application'}"
        if body.get("variant"):
            yield f"  variant  {body['variant']}"
        yield f"  reason   {body.get('reason', '')}"
    if because:
        yield f"  because  {because}"
    if body.get("metadata"):
        yield f"  metadata {compact(body['metadata'])}"


def _steps(steps: list[Step], indent: str) -> Iterator[str]:
    unreached: list[str] = []
    for step in steps:
        if step.matched is None and step.step != "more":
            unreached.append(_name(step))
            continue
        mark = _DECIDES if step.decides else _MARKS[step.matched]
        serves = ""
        if step.decides and step.step not in ("prerequisite", "gate"):
            serves = f" → {_served(step)}"
        yield f"{indent}{mark} {_name(step)}: {step.because}{serves}"
        inner = indent + _INDENT
        yield from _steps(step.steps, inner)
        if not isinstance(step.condition, UnsetType) and step.condition.kind != "always":
            yield from _condition(step.condition, inner)
        if not isinstance(step.split, UnsetType):
            yield from _split(step.split, inner)
    if unreached:
        some = ", ".join(unreached[:_MOST_NAMES])
        more = len(unreached) - _MOST_NAMES
        yield f"{indent}· not reached: {some}" + (f" and {more} more" if more > 0 else "")


def _served(step: Step) -> str:
    if isinstance(step.variant, UnsetType):
        return f"the error {step.reason}"
    return step.variant or "the default of the application"


def _name(step: Step) -> str:
    match step.step:
        case "rule":
            number = 0 if isinstance(step.index, UnsetType) else step.index + 1
            return f"rule {step.id or number}"
        case "prerequisite":
            return f"prerequisite {step.flag}"
        case kind:
            return kind


def _condition(trace: ConditionTrace, indent: str) -> Iterator[str]:
    because = f": {trace.because}" if trace.because else ""
    yield f"{indent}{_MARKS[trace.matched]} {trace.condition}{because}"
    inner = indent + _INDENT
    if not isinstance(trace.split, UnsetType):
        yield from _split(trace.split, inner)
    for item in trace.items:
        yield from _condition(item, inner)
    if trace.more_items:
        yield f"{inner}· and {trace.more_items} more, not shown"


def _split(split: SplitTrace, indent: str) -> Iterator[str]:
    if split.bucket is not None:
        hashed = f"{split.hash}({compact(split.hashed)})"
        yield f"{indent}{hashed} → bucket {split.bucket} of {split.buckets}"
    for piece in split.ranges:
        gets = "" if piece.variant is None else f" → {piece.variant}"
        yield f"{indent}{'✓' if piece.matched else '·'} [{piece.low}, {piece.high}){gets}"
    if split.more_ranges:
        yield f"{indent}· and {split.more_ranges} more ranges"
    if split.ramp:
        yield f"{indent}{split.ramp}"


def _printed(lines: Iterator[str]) -> str:
    return "".join((line if line.isprintable() else _written_out(line)) + "\n" for line in lines)


def _written_out(line: str) -> str:
    """Return a line in which nothing moves a cursor, ends a line, turns text round or hides."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)

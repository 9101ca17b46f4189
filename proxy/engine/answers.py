"""Answers: every outcome of a flag, with its response bytes made when the flag is compiled.

The body is a complete OFREP single response, and the same bytes are the flag's item in a bulk
response. What clients that ship today need of it:

- `variant` is always there and a string; `""` where there is none (a Python provider raises else);
- `value` is left out for the code default, never null (every provider reports a type mismatch);
- integers have no fraction, floats keep theirs (`10.0`): clients tell the types by the literal;
- errors carry all of `key`, `errorCode` and `errorDetails`;
- `metadata` is flat, and left out when empty.
"""

from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from proxy.contract.codes import ErrorCode
from proxy.contract.definitions import TARGETING_KEY
from proxy.engine.program import NAMING, Outcome

__all__ = ["Answer", "AnswerMaker", "encode", "error_answer", "not_found"]

_SHARED_FROM_BYTES = 2_048
"""Values from this size on are not copied into the body of each answer, but joined on use: else a
value of 64 KB that 500 rules serve would take 32 MB."""

_encoder = msgspec.json.Encoder()


class Answer(msgspec.Struct, eq=False, gc=False):
    """A prebuilt outcome of one flag. Everything but the counts is fixed.

    They belong to the caller: `evaluations` is how often it was answered, `reported` how much of
    that was reported to somebody. (A struct, because its
    members are read twice as fast as a class's on the hot path; it refers back to nothing, so the
    collector need not walk tens of thousands of them.)
    """

    key: str
    status: int
    """200, or for errors 400 or 404."""
    body: bytes
    """The OFREP response for this flag alone, and the flag's item in a bulk response."""
    value: Any = UNSET
    """UNSET for the code default."""
    variant: str = ""
    reason: str | None = None
    """None for errors."""
    error_code: str | None = None
    error_details: str = ""
    metadata: dict[str, Any] = {}
    rule_id: str | None = None
    unit_attribute: str = TARGETING_KEY
    """The attribute that held, or should have held, the unit."""
    evaluations: int = 0
    reported: int = 0

    def __repr__(self) -> str:
        what = self.error_code or f"{self.variant!r}, {self.reason}"
        return f"<Answer {self.key!r}: {what}>"


class _LargeAnswer(Answer):
    """An answer whose body is put together at each use; its field stays empty."""

    parts: tuple[bytes, bytes, bytes] = (b"", b"", b"")

    @property  # type: ignore[misc]  # reads like the field it stands for
    def body(self) -> bytes:  # type: ignore[override]  # and nobody sets an answer's body
        """Return what `Answer.body` holds."""
        return b"".join(self.parts)


class AnswerMaker:
    """Makes the answers of one flag: each outcome once, each value encoded once.

    Outcomes name variants of `variants`, whose values are written as they are; one whose value is
    UNSET is answered without, so that the application's default is used. Flags that are `untold`
    are not named in metadata.
    """

    def __init__(
        self,
        key: str,
        variants: Mapping[str, Any],
        metadata: dict[str, Any],
        untold: Container[str] = frozenset(),
    ) -> None:
        self._key = key
        self._untold = untold
        self._variants = variants
        self._metadata = metadata
        self._start = b'{"key":' + encode(key)
        self._plain_end = _metadata_end(metadata)
        self._of_rule: tuple[str, dict[str, Any], bytes] | None = None
        self._values: dict[str, bytes] = {}
        self._made: dict[tuple[Outcome, tuple[type, ...]], Answer] = {}
        self._others: list[AnswerMaker] = []

    @property
    def made(self) -> tuple[Answer, ...]:
        """Every answer made, in order."""
        others = (answer for other in self._others for answer in other.made)
        return (*self._made.values(), *others)

    def answering(self, variants: Mapping[str, Any] | None) -> Callable[[Outcome], Answer]:
        """Return what makes answers of outcomes; of other variants than the flag's if given."""
        if variants is None:
            return self.answer
        other = AnswerMaker(self._key, variants, self._metadata, self._untold)
        self._others.append(other)
        return other.answer

    def answer(self, outcome: Outcome) -> Answer:
        """Return the answer of an outcome: the same one for an equal outcome."""
        # True == 1 == 1.0, and written as JSON they are three
        kinds = tuple([value.__class__ for _, value in outcome.metadata])
        found = self._made.get((outcome, kinds))
        if found is None:
            found = self._made[outcome, kinds] = self._make(outcome)
        return found

    def _make(self, outcome: Outcome) -> Answer:
        if self._untold and any(name in NAMING for name, _ in outcome.metadata):
            told = [(n, v) for n, v in outcome.metadata if n not in NAMING or v not in self._untold]
            outcome = msgspec.structs.replace(outcome, metadata=tuple(told))
        if outcome.error is not None:
            return error_answer(
                self._key,
                outcome.error,
                outcome.details,
                metadata={**self._metadata, **dict(outcome.metadata)},
                unit_attribute=outcome.unit_attribute,
            )
        metadata, end = self._metadata, self._plain_end
        if outcome.rule_id is not None and not outcome.metadata:
            # one metadata for all arms of a rule's rollout: there may be a thousand
            if self._of_rule is None or self._of_rule[0] != outcome.rule_id:
                metadata = {**metadata, "ruleId": outcome.rule_id}
                self._of_rule = outcome.rule_id, metadata, _metadata_end(metadata)
            _, metadata, end = self._of_rule
        elif outcome.rule_id is not None or outcome.metadata:
            metadata = {**metadata, **dict(outcome.metadata)}
            if outcome.rule_id is not None:
                metadata["ruleId"] = outcome.rule_id
            end = _metadata_end(metadata)
        variant = outcome.variant or ""
        value = UNSET if outcome.variant is None else self._variants[outcome.variant]
        reason = str(outcome.reason)
        end = b',"variant":%b,"reason":"%b"%b' % (encode(variant), reason.encode(), end)
        start, encoded = self._value_parts(outcome.variant)
        kind: Callable[..., Answer] = Answer
        if len(encoded) < _SHARED_FROM_BYTES:
            body = start + encoded + end
        else:
            body, kind = b"", partial(_LargeAnswer, parts=(start, encoded, end))
        return kind(
            self._key,
            200,
            body,
            value=value,
            variant=variant,
            reason=reason,
            metadata=metadata,
            rule_id=outcome.rule_id,
            unit_attribute=outcome.unit_attribute,
        )

    def _value_parts(self, variant: str | None) -> tuple[bytes, bytes]:
        if variant is None or self._variants[variant] is UNSET:
            return self._start, b""
        encoded = self._values.get(variant)
        if encoded is None:
            encoded = self._values[variant] = encode(self._variants[variant])
        return self._start + b',"value":', encoded


def error_answer(
    key: str,
    code: ErrorCode,
    details: str,
    *,
    metadata: dict[str, Any] | None = None,
    unit_attribute: str = TARGETING_KEY,
) -> Answer:
    """Return an error: 404 for a flag that is not there, 400 for one that cannot answer."""
    body = b'{"key":%b,"errorCode":"%b","errorDetails":%b%b' % (
        encode(key),
        str(code).encode(),
        encode(details),
        _metadata_end(metadata or {}),
    )
    return Answer(
        key,
        404 if code is ErrorCode.FLAG_NOT_FOUND else 400,
        body,
        error_code=str(code),
        error_details=details,
        metadata=metadata or {},
        unit_attribute=unit_attribute,
    )


def not_found(key: str) -> Answer:
    """Return the answer for a key that no flag has; made anew each time, as keys are endless."""
    return error_answer(key, ErrorCode.FLAG_NOT_FOUND, "there is no flag of this key")


def encode(value: Any) -> bytes:
    """Return a value as JSON. Text that has no UTF-8 is answered with `?` in place of it."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(str(value).encode("utf-8", "replace").decode())


def _metadata_end(metadata: dict[str, Any]) -> bytes:
    return b',"metadata":%b}' % encode(metadata) if metadata else b"}"

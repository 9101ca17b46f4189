"""Flags that leave the decision to the application: what a snapshot answers that is too old.

Each answers what a disabled flag without an off variant does, no value, so that providers give what
the caller said; `stale` in the metadata tells why. Not DEFAULT, which says the same but is a type
mismatch to the provider of Go; nor an error, which would be in everybody's error logs.
"""

import msgspec

from proxy.contract.codes import Reason
from proxy.contract.steps import Steps
from proxy.engine.answers import Answer, AnswerMaker
from proxy.engine.compiled import CompiledFlag, CompiledSnapshot, Evaluate
from proxy.engine.program import Outcome
from proxy.engine.timing import NEVER

__all__ = ["code_defaults"]

_OUTCOME = Outcome(reason=Reason.DISABLED)


def code_defaults(compiled: CompiledSnapshot) -> Steps[dict[str, CompiledFlag]]:
    """Return the flags of a snapshot in the same order, without any value; yields between them.

    Who may see them stays as it is.
    """
    flags = {}
    for key, flag in compiled.flags.items():
        answer = AnswerMaker(key, {}, {"stale": True}).answer(_OUTCOME)
        flags[key] = msgspec.structs.replace(
            flag,
            evaluate=_always(answer),
            answers=(answer,),
            static=True,
            attributes=frozenset(),
            timing=NEVER,
            segments=(),
            prerequisites=(),
        )
        yield
    return flags


def _always(answer: Answer) -> Evaluate:
    def evaluate(_context: object, _now_ms: int, _memo: object = None, /) -> Answer:
        return answer

    return evaluate

"""`POST /ofrep/v1/evaluate/flags/{key}`: one flag for one context. Pure.

Everything the answer says was encoded when the snapshot was compiled; here a body is chosen.
"""

from proxy.contract.codes import ErrorCode
from proxy.ofrep.answers import JSON_HEADERS, OfrepAnswer, OfrepRequest, Tracked, failure
from proxy.ofrep.context import BadContext, is_suspicious, read_context
from proxy.ofrep.views import View

__all__ = ["evaluate_single"]


def evaluate_single(view: View, request: OfrepRequest, now_ms: int) -> OfrepAnswer:
    """Return the answer for one flag. A flag outside the view is as unknown as one that is not."""
    key = request.key or ""
    try:
        context = read_context(request.body, may_override=request.may_override)
    except BadContext as error:
        return failure(400, str(error), key=key, code=ErrorCode.INVALID_CONTEXT)
    if is_suspicious(context):
        view.suspicious_units[context["targetingKey"]] += 1
    flag = view.flags.get(key)
    if flag is None:
        return failure(
            404, f"there is no flag {key!r} here", key=key, code=ErrorCode.FLAG_NOT_FOUND
        )
    answer = flag.evaluate(context, now_ms)
    answer.evaluations += 1
    # Without a variant nobody was shown anything that a report could name.
    tracked = Tracked(answer, context) if flag.track and answer.variant else None
    return OfrepAnswer(answer.status, answer.body, JSON_HEADERS, tracked)

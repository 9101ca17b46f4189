"""`POST /ofrep/v1/evaluate/flags`: all flags that the caller may see, for one context. Pure.

Each item is the very bytes of the single answer. A bulk answer is never an exposure: its values
are fetched in advance, and clients report what they used. `eventStreams`, where there are any,
comes last, so that what is kept of an answer is the same for all keys.
"""

from proxy.contract.codes import ErrorCode
from proxy.ofrep.answers import OfrepAnswer, OfrepRequest, failure
from proxy.ofrep.context import BadContext, is_suspicious, read_context
from proxy.ofrep.etag import matches, result_etag, with_streams
from proxy.ofrep.views import View

__all__ = ["evaluate_bulk"]


def evaluate_bulk(view: View, request: OfrepRequest, now_ms: int) -> OfrepAnswer:
    """Return all flags, or 304 when the caller holds exactly this result already."""
    try:
        context = read_context(request.body, may_override=request.may_override)
    except BadContext as error:
        return failure(400, str(error), code=ErrorCode.INVALID_CONTEXT)
    if is_suspicious(context):
        view.suspicious_units[context["targetingKey"]] += 1
    wanted = request.if_none_match
    streams = request.streams
    tag = view.etag(context, now_ms)
    etag = with_streams(tag, streams) if streams and tag is not None else tag
    if etag is not None and wanted is not None and matches(wanted, etag):
        return _not_modified(etag)
    body = view.render(context, now_ms, tag)
    if streams:
        body = b"".join((memoryview(body)[:-1], streams, b"}"))
    if etag is None:
        etag = result_etag(body)
        if wanted is not None and matches(wanted, etag):
            return _not_modified(etag)
    headers = (
        ("Content-Type", "application/json"),
        ("Cache-Control", "private, no-cache"),
        ("ETag", etag),
    )
    return OfrepAnswer(200, body, headers)


def _not_modified(etag: str) -> OfrepAnswer:
    return OfrepAnswer(304, b"", (("Cache-Control", "private, no-cache"), ("ETag", etag)))

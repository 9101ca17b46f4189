"""`/api/v1/evaluate` over HTTP: what a flag answers, and why, without a sidecar."""

from aiohttp import hdrs, web

from control_plane.evaluation.model import EvaluationAnswer, EvaluationInput
from control_plane.evaluation.service import EvaluationService
from control_plane.keys import REPLICA
from control_plane.web.documents import read_flawed
from control_plane.web.params import query_scope
from control_plane.web.respond import json_response
from control_plane.web.routing import ENVIRONMENT, PROJECT, Param, Permission, Route
from proxy.engine import explanation_text, result_text

__all__ = ["ROUTES"]


async def evaluate_flag(request: web.Request) -> web.StreamResponse:
    """Answer what a flag answers to a context."""
    document, members, flaws = await read_flawed(request, EvaluationInput, "evaluation")
    draft = members.get("definition")
    answer = await EvaluationService(request.app[REPLICA]).evaluate(
        *query_scope(request),
        request.match_info["key"],
        document,
        draft.keys() if isinstance(draft, dict) else (),
        flaws,
    )
    if _wants_text(request):
        explained = answer.explanation
        text = result_text(answer.result) if explained is None else explanation_text(explained)
        return web.Response(text=text)
    return json_response(answer)


def _wants_text(request: web.Request) -> bool:
    asked = request.query.get("text")
    if asked is None:
        return "text/plain" in request.headers.get(hdrs.ACCEPT, "")
    return asked not in ("0", "false")  # as at a sidecar


ROUTES = (
    Route(
        method="POST",
        path="/api/v1/evaluate/{key:.+}",
        handler=evaluate_flag,
        summary="Evaluate a flag, and say why",
        permission=Permission.READ,
        tag="evaluation",
        params=(
            PROJECT,
            ENVIRONMENT,
            Param("key", "path", required=True, description="The flag's key."),
            Param(
                "text",
                description="1: the explanation as text, as with `Accept: text/plain`.",
            ),
        ),
        body=EvaluationInput,
        example={"context": {"targetingKey": "user-1", "country": "DE"}},
        responses={200: EvaluationAnswer},
        answers_text=True,
        description="What a sidecar of the environment would answer, by the same engine. `at` asks "
        "about another time; `definition` about a draft, which is validated and not saved, "
        "`version` or `revision` about the flag as it was. Counts nothing, and exposes nobody.",
    ),
)

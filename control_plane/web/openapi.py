"""The OpenAPI 3.1 description, generated from the table of routes and the types in it. Pure.

Nothing is written twice: paths, parameters, permissions and bodies are those the routes were
registered with, schemas are those that decode. A test checks it against the OpenAPI schema.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from control_plane.web.problem import PROBLEM_JSON, ErrorDocument
from control_plane.web.routing import JSON, Param, Permission, Route
from proxy.contract.schema import json_schemas

__all__ = ["describe", "plain_path"]

_REF = "#/components/schemas/{name}"
_PATTERN = re.compile(r"\{(\w+):[^{}]*\}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SECURITY: Mapping[Permission, list[dict[str, list[str]]]] = {
    Permission.PUBLIC: [],
    Permission.MEMBER: [{"serviceKey": []}, {"accessToken": []}],
    Permission.READ: [{"serviceKey": []}, {"accessToken": []}],
    Permission.WRITE: [{"serviceKey": []}, {"accessToken": []}],
    Permission.MANAGE: [{"serviceKey": []}, {"accessToken": []}],
    Permission.INSTALLATION: [{"accessToken": []}],
    Permission.ACCOUNT: [{"accessToken": []}],
    Permission.SYNC: [{"sidecarKey": []}],
    Permission.REPORT: [{"sidecarKey": []}],
}
_SCHEMES = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "The access token of a person, from `POST /api/v1/auth/login`. With "
        "`matrixflag dev`, requests from the same machine need none.",
    },
    "adminToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of `ADMIN_TOKEN`, for the first administrator.",
    },
    "serviceKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "A service key, `mf_service_...`, with a role that allows it.",
    },
    "sidecarKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "A sidecar key, `mf_sidecar_...`, made at `POST /api/v1/keys`.",
    },
}
_NOT_MODIFIED = {304: None}


def plain_path(path: str) -> str:
    """Return an aiohttp pattern as a path of OpenAPI: `/flags/{key:.+}` is `/flags/{key}`."""
    return _PATTERN.sub(r"{\1}", path)


def describe(
    routes: Sequence[Route], *, title: str, version: str, description: str
) -> dict[str, Any]:
    """Return the OpenAPI document of these routes."""
    types = _Types(_types_of(routes))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(plain_path(route.path), {})[route.method.lower()] = _operation(
            route, types
        )
    tags = dict.fromkeys(route.tag for route in routes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": description,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": types.components,
            "securitySchemes": _SCHEMES,
            "responses": {
                "Error": {
                    "description": "Any error. `code` says which, `problems` what is wrong with "
                    "the document.",
                    "content": {PROBLEM_JSON: {"schema": types.schema(ErrorDocument)}},
                }
            },
        },
    }


class _Types:
    """Schemas of all types that routes name, made in one go so that they share components."""

    def __init__(self, kinds: Iterable[Any]) -> None:
        self._kinds = list(kinds)
        schemas, components = json_schemas(self._kinds, _REF)
        # Generic types are called `Page[Flag]`, which no component may be.
        names = {name: _UNSAFE.sub("_", name).strip("_") for name in components}
        self._schemas: list[dict[str, Any]] = [_renamed(schema, names) for schema in schemas]
        self.components = {names[k]: _renamed(v, names) for k, v in components.items()}

    def schema(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type, nearly always a reference."""
        return self._schemas[self._kinds.index(kind)]


def _types_of(routes: Iterable[Route]) -> list[Any]:
    found: list[Any] = [ErrorDocument]
    for route in routes:
        named = [param.type for param in route.params]
        for answer in route.responses.values():
            if answer is not None and not isinstance(answer, str):
                named += answer if isinstance(answer, tuple) else (answer,)
        if route.body is not None:
            named.append(route.body)
        found += [kind for kind in named if kind not in found]
    return found


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        renamed = {k: _renamed(v, names) for k, v in value.items()}
        if all(isinstance(word, str) for word in renamed.get("enum", (None,))):
            renamed.setdefault("type", "string")  # both pages show "any" otherwise
        reference = renamed.get("$ref")
        if isinstance(reference, str):
            name = reference.rpartition("/")[2]
            renamed["$ref"] = _REF.format(name=names.get(name, name))
        return renamed
    if isinstance(value, list | tuple):  # defaults of the types are tuples
        return [_renamed(item, names) for item in value]
    return value


def _operation(route: Route, types: _Types) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        "security": _SECURITY[route.permission]
        + ([{"adminToken": []}] if route.first_admin else []),
        "responses": _responses(route, types),
    }
    if route.description:
        operation["description"] = route.description
    if route.params:
        operation["parameters"] = [_parameter(param, types) for param in route.params]
    if route.body is not None:
        schema = types.schema(route.body)
        example = {} if route.example is None else {"example": route.example}
        operation["requestBody"] = {
            "required": True,
            "content": {media: {"schema": schema} | example for media in route.media_types},
        }
    return operation


def _operation_id(route: Route) -> str:
    words = re.findall(r"[A-Za-z0-9]+", plain_path(route.path).removeprefix("/api/v1"))
    # No underscores: Swagger UI takes them for spaces in its links.
    return route.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _parameter(param: Param, types: _Types) -> dict[str, Any]:
    return {
        "name": param.name,
        "in": param.where,
        "required": param.required or param.where == "path",
        "schema": types.schema(param.type),
        **({"description": param.description} if param.description else {}),
    }


def _responses(route: Route, types: _Types) -> dict[str, Any]:
    answers: dict[int, Any] = dict(route.responses)
    if any(param.name == "If-None-Match" for param in route.params):
        answers = {**_NOT_MODIFIED, **answers}
    described = {
        str(status): _answer(status, a, types, route) for status, a in sorted(answers.items())
    }
    return described | {"default": {"$ref": "#/components/responses/Error"}}


_MEANINGS = {200: "Done.", 201: "Made.", 202: "Taken.", 204: "Done, nothing to say.", 304: "Same."}


def _answer(status: int, answer: Any, types: _Types, route: Route) -> dict[str, Any]:
    meaning = _MEANINGS.get(status, "An answer.")
    if answer is None:
        return {"description": meaning}
    if isinstance(answer, str):
        return {"description": answer}
    several = answer if isinstance(answer, tuple) else (answer,)
    schemas = [types.schema(kind) for kind in several]
    schema = {"oneOf": schemas} if len(schemas) > 1 else schemas[0]
    content: dict[str, Any] = {JSON: {"schema": schema}}
    if route.answers_text:
        content["text/plain"] = {"schema": {"type": "string"}}
    return {"description": meaning, "content": content}

"""Other systems' files without the secrets in them: keys of servers and clients, tokens, salts.

They are looked for where files have them: at the top, in the environments and connections of
exports, and in a flag itself. Further within a flag such a name is an attribute's, a variant's or
that of another flag, and is left alone. Pure; what is given is not changed.
"""

from collections.abc import Iterator
from typing import Any

from proxy.contract.codes import ProblemCode, Severity
from proxy.contract.problems import Problem, pointer

__all__ = ["without_secrets"]

_Path = tuple[str | int, ...]

_NAMES = frozenset(
    {"sdkkey", "apikey", "mobilekey", "clientkey", "environmentkey", "serverkey", "privatekey"}
    | {"encryptionkey", "decryptionkey", "signingkey", "clientsideid", "accesskey"}
    | {"token", "accesstoken", "admintoken", "apitoken", "authtoken", "clienttoken"}
    | {"frontendtoken", "refreshtoken", "bearer", "bearertoken", "githubtoken", "authheader"}
    | {"authorization", "secret", "clientsecret", "webhooksecret", "password", "passphrase"}
    | {"secureattributesalt", "hashsecureattributesalt", "attributesalt"}
)
"""Names of secrets, in small letters without `_` and `-`, where their value is a text."""

_HOLDERS = frozenset(
    {"items", "data", "project", "environment", "environments", "sdk", "connection"}
)
"""Members of a file, as exports have them, below which keys of servers are found."""

_FLAGS = frozenset({"flags", "features", "toggles", "segments"})
_ANSWERED = frozenset({"metadata"})
"""Members of a file that flags answer with: what is in them is meant to be read."""

_DEEPEST = 8


def without_secrets(document: Any) -> tuple[Any, list[Problem]]:
    """Return a decoded file without its secrets, and a warning for each with its place."""
    removed: list[_Path] = []
    made = _held(document, (), removed)
    if isinstance(made, dict):  # files of flags by their keys have no other member
        for name, value in made.items():
            if isinstance(value, dict) and _plain(name) not in _HOLDERS | _FLAGS | _ANSWERED:
                made[name] = _own(value, (name,), removed)
    message = "a secret; it is left out"
    return made, [
        Problem(pointer(*path), ProblemCode.UNSUPPORTED, message, severity=Severity.WARNING)
        for path in removed
    ]


def _held(node: Any, path: _Path, removed: list[_Path]) -> Any:
    """Return a holder of secrets without them."""
    if len(path) > _DEEPEST:
        return node
    if isinstance(node, list):
        return [_held(item, (*path, index), removed) for index, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    made = _own(node, path, removed)
    for name, value in made.items():
        plain, here = _plain(name), (*path, name)
        if plain in _FLAGS:
            made[name] = _each(value, here, removed)
        elif plain in _HOLDERS:
            held = _held(value, here, removed)
            made[name] = _each(held, here, removed) if plain == "environments" else held
    return made


def _each(node: Any, path: _Path, removed: list[_Path]) -> Any:
    """Return a table or list of things without their own secrets."""
    if isinstance(node, list):
        return [_own(item, (*path, index), removed) for index, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    return {name: _own(value, (*path, name), removed) for name, value in node.items()}


def _own(node: Any, path: _Path, removed: list[_Path]) -> Any:
    """Return an object without the members of its own that are secrets."""
    if not isinstance(node, dict):
        return node
    secrets = list(_secrets(node))
    removed += [(*path, name) for name in secrets]
    return {name: value for name, value in node.items() if name not in secrets}


def _secrets(node: dict[Any, Any]) -> Iterator[str]:
    return (
        name for name, value in node.items() if isinstance(value, str) and _plain(name) in _NAMES
    )


def _plain(name: Any) -> str:
    return str(name).lower().replace("_", "").replace("-", "")

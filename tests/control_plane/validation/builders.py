"""Files for the tests, and what is found in them."""

import json
from typing import Any

from control_plane.validation.project import check_files
from control_plane.validation.report import Finding, findings

__all__ = ["SIMPLE", "found", "full", "places", "text_of"]

SIMPLE = {"key": "a", "type": "boolean", "value": True}


def full(key: str = "a", **config: Any) -> dict[str, Any]:
    """Return a whole flag, configured for production."""
    serve = {"fallthrough": {"variant": "on"}}
    environments = {"production": serve | config}
    variants = {"on": True, "off": False}
    return {"key": key, "type": "boolean", "variants": variants, "environments": environments}


def text_of(flags: list[Any], segments: list[Any] | None = None) -> bytes:
    """Return a definitions file."""
    return json.dumps({"flags": flags, "segments": segments or []}).encode()


def found(*contents: bytes | dict[str, Any], environments: tuple[str, ...] = ()) -> list[Finding]:
    """Return what is found in files, named `0`, `1`, ... in their order."""
    files = [c if isinstance(c, bytes) else json.dumps(c).encode() for c in contents]
    return findings(check_files([(str(n), data) for n, data in enumerate(files)], environments))


def places(*contents: bytes | dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return file, pointer and code of everything that is found."""
    return {(each.file, each.pointer, each.code) for each in found(*contents)}

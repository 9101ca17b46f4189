"""Files of other systems as decoded JSON, whether they are written in JSON or in YAML."""

from typing import Any

from proxy.contract import strict_json
from proxy.contract.decode import decode
from proxy.contract.problems import Problem
from proxy.yaml_documents import BadYaml, read_yaml

__all__ = ["UnreadableFile", "is_yaml", "read_file_document"]

_YAML = (".yaml", ".yml")
_SHOWN = 3


class UnreadableFile(Exception):
    """A file holds no document; the text says why, for its author."""


def is_yaml(name: str, data: bytes) -> bool:
    """Return whether a file is YAML: by its name, or by not beginning as JSON does."""
    lower = name.lower()
    if lower.endswith((*_YAML, ".json")):
        return lower.endswith(_YAML)
    return not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))


def read_file_document(name: str, data: bytes) -> Any:
    """Return what a file holds; duplicate keys and deep nesting are refused in both forms.

    Raises:
        UnreadableFile: it holds nothing that can be read.
    """
    if is_yaml(name, data):
        try:
            return read_yaml(data)
        except BadYaml as error:
            raise UnreadableFile(str(error)) from None
    problems = strict_json.scan(data)
    document: Any = None
    if not problems:
        document, problems = decode(data, object)
    if problems:
        raise UnreadableFile("; ".join(map(_said, problems[:_SHOWN])))
    return document


def _said(problem: Problem) -> str:
    return f"{problem.pointer}: {problem.message}" if problem.pointer else problem.message

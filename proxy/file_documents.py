"""Files of other systems as decoded JSON, whether they are written in JSON or in YAML.

A mistake of the text that stands in one place is told with its pointer and line, and the rest is
read: whoever asked refuses the flag that it is in. What is no JSON and no YAML refuses the file.
"""

from typing import Any, NamedTuple

from proxy.contract import strict_json
from proxy.contract.decode import decode
from proxy.contract.mending import mend
from proxy.contract.problems import Problem
from proxy.contract.yaml_documents import BadYaml, read_yaml

__all__ = ["FileDocument", "UnreadableFile", "is_yaml", "read_file_document"]

_YAML = (".yaml", ".yml")
_SHOWN = 3


class UnreadableFile(Exception):
    """A file holds no document; the text says why, for its author."""


class FileDocument(NamedTuple):
    """What a file holds, and the mistakes of its text, with pointers into it."""

    document: Any
    flaws: list[Problem]


def is_yaml(name: str, data: bytes) -> bool:
    """Return whether a file is YAML: by its name, or by not beginning as JSON does."""
    lower = name.lower()
    if lower.endswith((*_YAML, ".json")):
        return lower.endswith(_YAML)
    return not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))


def read_file_document(name: str, data: bytes) -> FileDocument:
    """Return what a file holds, in both forms within the same bounds.

    Raises:
        UnreadableFile: it holds nothing that can be read.
    """
    if is_yaml(name, data):
        try:
            return FileDocument(*read_yaml(data))
        except BadYaml as error:
            raise UnreadableFile(str(error)) from None
    flaws: list[Problem] = []
    document: Any = None
    problems = strict_json.scan(data)
    if not problems:
        document, problems = decode(data, object)
    if problems:
        text, flaws = mend(data, places=True)
        document, problems = decode(text, object)
    if problems:
        raise UnreadableFile("; ".join(map(_said, problems[:_SHOWN])))
    return FileDocument(document, flaws)


def _said(problem: Problem) -> str:
    return f"{problem.pointer}: {problem.message}" if problem.pointer else problem.message

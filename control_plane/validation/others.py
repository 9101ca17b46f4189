"""Files that sidecars serve beside definitions in JSON: flagd's, and what is written in YAML. Pure.

What is said of a file of flagd is what an import and a sidecar say of it, with the same pointers.
"""

from typing import Any, NamedTuple

from control_plane.validation.notes import Notes
from control_plane.validation.snapshots import Counts
from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem
from proxy.contract.yaml_documents import BadYaml, lines_of
from proxy.engine import FileUnreadable, import_document, read_file_text

__all__ = ["Read", "is_yaml", "read_other", "relocate"]

_YAML = (".yaml", ".yml")
_ENVIRONMENT = "production"  # whichever it is, a file of flagd says the same for all


class Read(NamedTuple):
    """A file's definitions as JSON, or how much was looked at in one that holds others."""

    definitions: bytes | None
    counts: Counts


def is_yaml(name: str) -> bool:
    """Return whether sidecars read a file of this name as YAML."""
    return name.lower().endswith(_YAML)


def read_other(name: str, data: bytes, notes: Notes) -> Read:
    """Return a file's definitions, if it has some of ours; of any other note what is wrong.

    JSON of ours is returned as it is: what is wrong with its text is for who reads it.
    """
    nothing = Counts(0, 0)
    try:
        text, flaws, flagd = read_file_text(name, data)
    except FileUnreadable as error:
        if not is_yaml(name) and error.problems[0].code is not ProblemCode.OTHER_SYSTEM:
            return Read(data, nothing)
        notes.add_problems(error.problems)
        return Read(None, nothing)
    if flagd is not None:
        notes.add_problems(_problems(flagd, flaws))
        return Read(None, Counts(len(flagd["flags"]), 0))
    if not is_yaml(name):
        return Read(data, nothing)
    notes.add_problems(flaws)
    return Read(text, nothing)


def relocate(data: bytes, notes: Notes) -> None:
    """Let the notes of a file in YAML be of its lines."""
    try:
        lines = lines_of(data, {note.problem.pointer for note in notes.kept})
    except BadYaml:
        return  # all that is told is of the whole
    notes.kept = [
        note._replace(line=lines[note.problem.pointer] - 1, inner=None) for note in notes.kept
    ]


def _problems(document: dict[str, Any], flaws: list[Problem]) -> list[Problem]:
    found = import_document("flagd", document, {"fractional": "v2"}, [_ENVIRONMENT])
    flawed = {_item(flaw) for flaw in flaws}
    # of what has a mistake in its text, nobody meant what could be read
    return [*flaws, *(p for p in found.all_problems() if _item(p) not in flawed)]


def _item(problem: Problem) -> str:
    return "/".join(problem.pointer.split("/")[:3])

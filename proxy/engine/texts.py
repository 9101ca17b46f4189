"""Bounds on text and numbers of things, checked the same way everywhere in a definition."""

import re

from proxy.contract.codes import ProblemCode
from proxy.engine.findings import Findings, Path
from proxy.engine.limits import MAX_PATH_CHARS
from proxy.engine.paths import path_fault

__all__ = ["CONTROL", "check_attribute", "check_count", "check_length", "has_utf8"]

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""A control character (C0, DEL, C1): in a key, a name or an id it hides something."""


def check_attribute(path: Path, name: str, findings: Findings, hint: str = "") -> None:
    """Report what is no name of an attribute, nor a path to one."""
    if not 0 < len(name) <= MAX_PATH_CHARS:
        message = f"the name of an attribute has 1 to {MAX_PATH_CHARS} characters"
        findings.add(path, ProblemCode.OUT_OF_RANGE, message, hint)
    elif (fault := path_fault(name)) is not None:
        hint = "an element of a list is written items[0]"
        findings.add(path, ProblemCode.INVALID_PATH, fault, hint)


def check_length(path: Path, text: str, most: int, findings: Findings) -> None:
    """Report text of more than `most` characters."""
    if len(text) > most:
        message = f"{len(text)} characters, at most {most} are allowed"
        findings.add(path, ProblemCode.OUT_OF_RANGE, message)


def check_count(path: Path, count: int, most: int, what: str, findings: Findings) -> None:
    """Report more than `most` of something."""
    if count > most:
        message = f"{count} {what}, at most {most} are allowed"
        findings.add(path, ProblemCode.TOO_MANY, message)


def has_utf8(text: str) -> bool:
    """Return whether text can be written: a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""The queries of a flag: which language one is in, each compiled once, and bounds on all of them.

A query that is a JSON object is JSON Logic; any other is GO Feature Flag's own language. Before
either is read, line ends go, with the spaces after them.

Rules:
- A query that can never hold is a warning, and so is one that was not understood in whole.
"""

import re
from typing import Any

import msgspec

from proxy.contract.codes import ProblemCode, Severity
from proxy.engine import limits
from proxy.engine import program as p
from proxy.engine.dialects.goff.conditions import Attributes, expression_of
from proxy.engine.dialects.goff.flags import Rule
from proxy.engine.dialects.goff.logic import extras, truth_of
from proxy.engine.dialects.goff.query import TooComplex, parse_query
from proxy.engine.dialects.jsonlogic import Compiler
from proxy.engine.dialects.operations import OPERATIONS
from proxy.engine.findings import Findings, Path
from proxy.engine.operators import Leaf

__all__ = ["Queries", "trimmed"]

_MAX_QUERY_CHARS = 65_536
"""Of one query; ten thousand values in a list."""

_MAX_CHARS_IN_ALL = 4 * _MAX_QUERY_CHARS
_MAX_LEAVES = limits.MAX_CONDITIONS


_LONE = re.compile(
    r"(?<!\\)((?:\\\\)*)(?:(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""Surrogates as JSON escapes them; those in pairs are a character, and others U+FFFD."""


def _replaced(found: re.Match[str]) -> str:
    return found[1] + (found[2] or "\\ufffd")


class Queries:
    """Compiles the queries of one flag; what is wrong goes to `findings`."""

    def __init__(self, fixed: Attributes, findings: Findings) -> None:
        self._fixed = fixed
        self._findings = findings
        self._made: dict[str, p.Expression] = {}
        self._leaves = 0
        self._chars = 0
        self._compiler = Compiler(findings, OPERATIONS, extras(fixed))

    def expression(self, rule: Rule) -> p.Expression:
        """Return when a rule applies. One without a query always does."""
        text = trimmed(rule.query or "")
        if not text:
            return p.TRUE
        made = self._made.get(text)
        if made is None:
            made = self._made[text] = self._compiled(text, (*rule.path, "query"))
        return made

    def _compiled(self, text: str, path: Path) -> p.Expression:
        self._chars += len(text)
        if len(text) > _MAX_QUERY_CHARS or self._chars > _MAX_CHARS_IN_ALL:
            message = "the query, or all of them together, are too long"
            self._findings.add(path, ProblemCode.OUT_OF_RANGE, message)
            return p.FALSE
        try:
            logic = msgspec.json.decode(_LONE.sub(_replaced, text) if "\\u" in text else text)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return self._of_language(text, path)
        if logic is None:
            self._warn(path, "the query is null, and matches nobody")
            return p.FALSE
        if logic.__class__ is not dict:
            return self._of_language(text, path)
        return self._of_logic(logic, text, path)

    def _of_language(self, text: str, path: Path) -> p.Expression:
        try:
            query = parse_query(text)
        except TooComplex:
            self._findings.add(path, ProblemCode.TOO_DEEP, "the query is too deep, or too long")
            return p.FALSE
        made = expression_of(query.root, text, self._fixed)
        self._leaves += made.leaves
        if self._leaves > _MAX_LEAVES:
            message = f"the queries of the flag have more than {_MAX_LEAVES} comparisons"
            self._findings.add(path, ProblemCode.TOO_MANY, message)
            return p.FALSE
        if query.root is None:
            self._warn(path, "the query cannot be read, and matches nobody")
        elif not query.clean:
            message = "the query has errors; it is read as GO Feature Flag does, which mends some"
            self._warn(path, message, "ends of it may be ignored; write it out and test it")
        elif made.fails:
            message = "a comparison has an operator that its value does not; nobody matches by it"
            self._warn(path, message)
        elif made.strays:
            message = (
                "where a member of an object is missing, GO Feature Flag compares the value of the "
                "comparison before; so does this"
            )
            self._warn(path, message)
        return made.expression

    def _of_logic(self, logic: dict[str, Any], text: str, path: Path) -> p.Expression:
        known = len(self._findings.problems)
        compiled = self._compiler.compile(logic, path)
        evaluate = truth_of(compiled)
        if (
            not compiled.reads
            and compiled.reads is not None
            and len(self._findings.problems) == known
        ):
            holds = evaluate({})
            if not holds:
                self._warn(path, "the query is never true, and matches nobody")
            return p.TRUE if holds else p.FALSE
        return p.Probe(p.Operand("query", evaluate, compiled.reads), Leaf("{f}"), source=text)

    def _warn(self, path: Path, message: str, hint: str = "") -> None:
        self._findings.add(path, ProblemCode.UNSUPPORTED, message, hint, Severity.WARNING)


def trimmed(query: str) -> str:
    """Return a query without line ends, and without the spaces that lines begin with."""
    return "".join([line.lstrip(" ") for line in query.split("\n")])

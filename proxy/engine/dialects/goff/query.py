"""The query language of GO Feature Flag: `age ge 18 and not (country in ["DE", "FR"])`.

    query      : comparison | path pr | not ( query ) | ( query )
               | query and query | query or query
    comparison : path operator value
    operator   : eq == ne != gt > lt < ge >= le <= co sw ew in     (all lower or all upper case)
    value      : "text", 1, -1, 1.5, 1.2.3-rc.1, true, false, null, ["a", "b"], [1, 2], [1.5, 2.5]

`and` and `or` bind alike, from the left. One space parts what stands beside each other.

That is the language; what people have written in it is more. The library that GO Feature Flag
reads it with (nikunjy/rules, a parser made by ANTLR 4) refuses nothing: it stops where it no longer
understands, and mends what one token would mend. `not a eq 1` is `not (a eq 1)`, `a eq 1 AND b` is
`a eq 1`, and a query with a hole in it is false only when evaluation comes to the hole. Flags in
production are served by that, so this parser mends as that one does: by the rules of ANTLR's
default strategy, which are those of `_Parser.match`, `sync` and `recover`. `Query.clean` says
whether there was anything to mend.

Rules:
- Holes are None, and what they do is for the reader of the tree; see `conditions`.
- Series are lists and not nested, so that only parentheses make a tree deep.
- Pure; nothing raises but `TooComplex`.
"""

import re
from typing import NamedTuple

__all__ = ["Comparison", "Group", "Node", "Presence", "Query", "Series", "TooComplex", "Value"]
__all__ += ["parse_query"]

_MAX_DEPTH = 60
"""Parentheses within one another; each is some levels of recursion."""

MAX_TOKENS = 20_000
"""Of one query: ten thousand values in a list."""


class TooComplex(Exception):
    """A query nests too deep, or is too long."""


class Value(NamedTuple):
    """A literal as it is written. `kind` is the name of a token, or INTS, DOUBLES, STRINGS."""

    kind: str
    texts: tuple[str, ...]


class Comparison(NamedTuple):
    """`path operator value`; a hole instead of the value where it could not be read."""

    path: tuple[str, ...]
    operator: str
    value: Value | None


class Presence(NamedTuple):
    """`path pr`."""

    path: tuple[str, ...]


class Group(NamedTuple):
    """A query in parentheses, with `not` in front of them or without."""

    negated: bool
    inner: "Node | None"


class Series(NamedTuple):
    """A first query, and what follows from left to right: `and` or `or`, and a query."""

    first: "Node | None"
    rest: tuple[tuple[str, "Node | None"], ...]


Node = Comparison | Presence | Group | Series


class Query(NamedTuple):
    """A query that was read; None where there is none at all."""

    root: Node | None
    clean: bool


# Tokens


class _Token(NamedTuple):
    kind: str
    text: str


_INT = r"(?:0|[1-9][0-9]*)"
_PRE_RELEASE = rf"(?:[0-9]*[A-Za-z-][0-9A-Za-z-]*|{_INT})"
_BUILD = r"[0-9A-Za-z-]+"
_VERSION = (
    rf"{_INT}\.{_INT}\.{_INT}"
    rf"(?:-{_PRE_RELEASE}(?:\.{_PRE_RELEASE})*)?(?:\+{_BUILD}(?:\.{_BUILD})*)?"
)
_ESCAPE = r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'

_TOKENS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("(", r"\("),
        (")", r"\)"),
        ("pr", "pr"),
        (".", r"\."),
        ("-", "-"),
        ("[", r"\["),
        ("]", r"\]"),
        ("NOT", "not|NOT"),
        ("LOGICAL", "and|or"),
        ("BOOLEAN", "true|false"),
        ("NULL", "null"),
        ("in", "IN|in"),
        ("eq", "eq|EQ|=="),
        ("ne", "ne|NE|!="),
        ("ge", "ge|GE|>="),
        ("le", "le|LE|<="),
        ("gt", "gt|GT|>"),
        ("lt", "lt|LT|<"),
        ("co", "co|CO"),
        ("sw", "sw|SW"),
        ("ew", "ew|EW"),
        ("NAME", "[A-Za-z][A-Za-z0-9:_-]*"),
        ("VERSION", _VERSION),
        ("STRING", rf'"(?:{_ESCAPE}|[^"\\])*"'),
        ("DOUBLE", rf"-?{_INT}\.[0-9]+(?:[Ee][+-]?{_INT})?"),
        ("INT", _INT),
        ("EXP", rf"[Ee][+-]?{_INT}"),
        ("NEWLINE", r"\n"),
        ("COMMA", ", *"),
        ("SP", " \n*"),
    )
)
"""The longest one counts; of equally long ones the first."""

_NUMBERS = tuple(token for token in _TOKENS if token[0] in ("VERSION", "DOUBLE", "INT"))


OPERATORS = frozenset(("in", "eq", "ne", "gt", "lt", "ge", "le", "co", "sw", "ew"))

_UNFINISHED = re.compile(rf'"(?:{_ESCAPE}|[^"\\])*(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?|[=!]')
"""What may start a token without one following; with the character after it, it is left out."""


def _tokens(text: str) -> tuple[list[_Token], bool]:
    """Return the tokens, and whether they are all of the text."""
    found: list[_Token] = []
    whole = True
    position = 0
    while position < len(text):
        kind, end = "", position
        for candidate, pattern in _NUMBERS if "0" <= text[position] <= "9" else _TOKENS:
            match = pattern.match(text, position)
            if match is not None and match.end() > end:
                kind, end = candidate, match.end()
        if kind:
            found.append(_Token(kind, text[position:end]))
            if len(found) > MAX_TOKENS:
                raise TooComplex
            position = end
            continue
        whole = False
        unfinished = _UNFINISHED.match(text, position)
        position = (unfinished.end() if unfinished else position) + 1
    return found, whole


# The parser


class _Mismatch(Exception):
    """What stands here is not what was expected."""


_END = _Token("END", "")

_STARTS_QUERY = frozenset(("NOT", "SP", "(", "NAME"))
_STARTS_GROUP = frozenset(("NOT", "SP", "("))
_STARTS_REST = frozenset(("SP", "("))
_ENDS_GROUP = frozenset(("SP", ")"))
_STARTS_VALUE = frozenset(("BOOLEAN", "NULL", "VERSION", "STRING", "DOUBLE", "-", "INT", "["))
_LISTS = {"INT": "INTS", "DOUBLE": "DOUBLES", "STRING": "STRINGS"}
_NEVER_MENDED = frozenset[str]()


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._position = 0
        self._mending = False  # after an error, until something matches
        self._errors: set[str] = set()  # where there was one since then,
        self._error_position = -1  # and at which token the last
        self.clean = True

    def next(self, ahead: int = 0) -> _Token:
        place = self._position + ahead
        return self._tokens[place] if place < len(self._tokens) else _END

    @property
    def at_end(self) -> bool:
        return self._position >= len(self._tokens)

    # What every rule is made of

    def match(self, kind: str, follows: frozenset[str]) -> str:
        """Go past a token; past one too many, or as if it were there when what follows it is.

        Return the kind of one too many.
        """
        if self.next().kind == kind:
            self._pass()
            return ""
        self.clean = False
        here = self.next().kind
        if self.next(1).kind == kind:
            self._position += 1
            self._pass()
            return here
        if here not in follows:
            raise _Mismatch
        return ""

    def sync(self, expected: frozenset[str]) -> str:
        """See that something of what is expected stands here, or after one too many.

        Return the kind of that.
        """
        here = self.next().kind
        if self._mending or here in expected:
            return ""
        self.clean = False
        if self.next(1).kind not in expected:
            raise _Mismatch
        self._position += 1
        self._matched()
        return here

    def recover(self, where: str, follows: frozenset[str]) -> list[_Token]:
        """Go on to what can follow the rule in which there was an error; return what is between."""
        self.clean = False
        self._mending = True
        start = self._position
        if self._error_position == self._position and where in self._errors:
            self._position += 1
        self._error_position = self._position
        self._errors.add(where)
        while not self.at_end and self.next().kind not in follows:
            self._position += 1
        return self._tokens[start : self._position]

    def _pass(self) -> None:
        self._matched()
        self._position += not self.at_end

    def _matched(self) -> None:
        self._mending = False
        self._errors.clear()
        self._error_position = -1

    # The rules

    def query(
        self, follows: frozenset[str], depth: int = 0, *, operand: bool = False
    ) -> Node | None:
        """Return a query; `follows` are the tokens that can stand after it, but the end."""
        if depth > _MAX_DEPTH:
            raise TooComplex
        node: list[Node | None] = [None]
        rest: list[tuple[str, Node | None]] = []
        where = "query"
        try:
            self.sync(_STARTS_QUERY)
            kind = self.next().kind
            if kind in ("NOT", "SP", "("):
                where = "group"
                self._group(follows, depth, node)
            else:
                where = "comparison"
                self._comparison(follows, node)
            where = "series"
            while not operand and self.next().kind == "SP" and self.next(1).kind == "LOGICAL":
                self._pass()
                word = self.next().text
                self._pass()
                rest.append((word, None))
                self.match("SP", _STARTS_QUERY)
                rest[-1] = (word, self.query(follows | {"SP"}, depth + 1, operand=True))
        except _Mismatch:
            skipped = self.recover(where, follows)
            # a `not` that is skipped in a group is the group's
            if isinstance(node[0], Group) and not rest and any(t.kind == "NOT" for t in skipped):
                node[0] = node[0]._replace(negated=True)
        return Series(node[0], tuple(rest)) if rest else node[0]

    def _group(self, follows: frozenset[str], depth: int, node: list[Node | None]) -> None:
        """Read `not ( query )`; what was read of it stays when there is an error."""
        inner: Node | None = None
        negated = False

        def seen(left_out: str) -> None:
            nonlocal negated
            negated = negated or left_out == "NOT"
            node[0] = Group(negated, inner)

        seen(self.sync(_STARTS_GROUP))
        if self.next().kind == "NOT":
            seen("NOT")
            self._pass()
        seen(self.sync(_STARTS_REST))
        if self.next().kind == "SP":
            self._pass()
        seen(self.match("(", _STARTS_QUERY))
        seen(self.sync(_STARTS_QUERY))
        here = self.next(1 if self.next().kind == "SP" else 0).kind
        self._expect(here in _STARTS_QUERY)
        if self.next().kind == "SP":
            self._pass()
        inner = self.query(_ENDS_GROUP | follows, depth + 1)
        seen("")
        seen(self.sync(_ENDS_GROUP))
        if self.next().kind == "SP":
            self._pass()
        seen(self.match(")", follows | {"SP", "END"}))

    def _comparison(self, follows: frozenset[str], node: list[Node | None]) -> None:
        """Read `path pr` or `path operator value`; which of them is seen beforehand."""
        path: list[str] = []
        ahead = 0
        while self.next(ahead).kind == "NAME":
            path.append(self.next(ahead).text)
            ahead += 1
            if self.next(ahead).kind != ".":
                break
            ahead += 1
        known = self.next(ahead).kind == "SP" and self.next(ahead - 1).kind == "NAME"
        operator = self.next(ahead + 1).kind
        self._expect(known and (operator == "pr" or operator in OPERATORS))
        self._position += ahead + 1
        self._pass()
        if operator == "pr":
            node[0] = Presence(tuple(path))
            return
        node[0] = Comparison(tuple(path), operator, None)
        self.match("SP", _STARTS_VALUE)
        node[0] = Comparison(tuple(path), operator, self._value(follows | {"SP"}))

    def _value(self, follows: frozenset[str]) -> Value | None:
        value: Value | None = None
        try:
            self.sync(_STARTS_VALUE)
            kind, text = self.next()
            self._expect(kind in _STARTS_VALUE)
            if kind in ("-", "INT"):
                value = Value("INT", (self._integer(),))
            elif kind == "[":
                value = self._list(follows)
            else:
                value = Value(kind, (text,))
                self._pass()
        except _Mismatch:
            self.recover("value", follows)
        return value

    def _expect(self, holds: bool) -> None:
        if not holds:
            self.clean = False
            raise _Mismatch

    def _integer(self) -> str:
        """Return a whole number as text; text that is no number where it is not in one piece."""
        text = ""
        if self.next().kind == "-":
            text = "-"
            self._pass()
        text += self.next().text if self.next().kind == "INT" else "no number"
        self.match("INT", _NEVER_MENDED)
        if self.next().kind == "EXP":
            text += self.next().text
            self._pass()
        return text

    def _list(self, follows: frozenset[str]) -> Value | None:
        """Return a list of one kind; where it breaks off, with an item if one is seen there."""
        kind = self.next(1).kind
        self._expect(kind in _LISTS)
        self._pass()
        texts: list[str] = []
        after = "COMMA"
        while after == "COMMA":
            try:
                self.sync(frozenset((kind,)))
                after = self.next(1).kind
                self._expect(self.next().kind == kind and after in ("COMMA", "]"))
            except _Mismatch:
                skipped = [t.text for t in self.recover("list", follows) if t.kind == kind]
                return Value(_LISTS[kind], (*texts, skipped[0])) if skipped else None
            texts.append(self.next().text)
            self._pass()
            self._pass()
        return Value(_LISTS[kind], tuple(texts))


def parse_query(text: str) -> Query:
    """Return a query read; raises TooComplex."""
    tokens, whole = _tokens(text)
    parser = _Parser(tokens)
    root = parser.query(frozenset())
    return Query(root, whole and parser.clean and parser.at_end)

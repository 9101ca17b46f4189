"""The canonical flags of OpenFeature's provider conformance suite (appendix F), and a backend.

The suite drives providers against a backend that serves these flags. It is in no registry, so what
it asks of them stands here as cases. The flags are served in two forms: as our own definitions, and
as a file of flagd's format, of which the sidecar takes them too.

A `Backend` does what the suite's control API asks of one: start, stop, restart, change, reset.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tests.clients.cases import Case, Kind, Outcome, configured
from tests.clients.conftest import Served, serving

__all__ = ["CASES", "CHANGING", "Backend", "Form", "running_backend"]

Form = Literal["ours", "flagd"]

_HIT = "5c3d8535-f81a-4478-a6d3-afaa4d51199e"
_MISS = "f20bd32d-703b-48b6-bc8e-79d53c85134a"
_TEMPLATE = {"showImages": True, "title": "Check out these pics!", "imagesPerPage": 100}


class _Flag(NamedTuple):
    """A flag that serves one variant; `hit` is another one for a certain targeting key."""

    kind: str
    variants: dict[str, Any]
    serves: str
    enabled: bool = True
    hit: str | None = None


_ON_OFF = {"on": True, "off": False}
_GREETINGS = {"greeting": "hi", "parting": "bye"}
_INTEGERS = {"one": 1, "ten": 10}
_FLOATS = {"tenth": 0.1, "half": 0.5}

_FLAGS = {
    "boolean-flag": _Flag("boolean", _ON_OFF, "on"),
    "string-flag": _Flag("string", _GREETINGS, "greeting"),
    "integer-flag": _Flag("integer", _INTEGERS, "ten"),
    "float-flag": _Flag("number", _FLOATS, "half"),
    "large-integer-flag": _Flag("integer", {"one": 1, "max-int32": 2**31 - 1}, "max-int32"),
    "huge-integer-flag": _Flag("integer", {"one": 1, "max-safe": 2**53 - 1}, "max-safe"),
    "integral-float-flag": _Flag("number", {"tenth": 0.1, "ten": 10.0}, "ten"),
    "boolean-zero-flag": _Flag("boolean", {"zero": False, "non-zero": True}, "zero"),
    "integer-zero-flag": _Flag("integer", {"zero": 0, "non-zero": 1}, "zero"),
    "string-zero-flag": _Flag("string", {"zero": "", "non-zero": "str"}, "zero"),
    "object-flag": _Flag("object", {"empty": {}, "template": _TEMPLATE}, "template"),
    "wrong-flag": _Flag("string", {"one": "uno", "two": "dos"}, "one"),
    "disabled-boolean-flag": _Flag("boolean", _ON_OFF, "on", enabled=False),
    "disabled-string-flag": _Flag("string", _GREETINGS, "greeting", enabled=False),
    "disabled-integer-flag": _Flag("integer", _INTEGERS, "ten", enabled=False),
    "disabled-float-flag": _Flag("number", _FLOATS, "half", enabled=False),
    "targeting-key-flag": _Flag("string", {"miss": "miss", "hit": "hit"}, "miss", hit="hit"),
    "changing-flag": _Flag("string", {"foo": "foo", "bar": "bar"}, "foo"),
}


def _ours(flags: dict[str, _Flag]) -> dict[str, Any]:
    def flag(key: str, of: _Flag) -> dict[str, Any]:
        targets = [] if of.hit is None else [{"variant": of.hit, "units": [_HIT]}]
        serves = {"variant": of.serves}
        return configured(
            key, of.kind, of.variants, enabled=of.enabled, fallthrough=serves, targets=targets
        )

    return {"flags": [flag(key, of) for key, of in flags.items()]}


def _flagd(flags: dict[str, _Flag]) -> dict[str, Any]:
    def flag(of: _Flag) -> dict[str, Any]:
        rule = {"if": [{"==": [{"var": "targetingKey"}, _HIT]}, of.hit, None]}
        return {
            "state": "ENABLED" if of.enabled else "DISABLED",
            "variants": of.variants,
            "defaultVariant": of.serves,
            **({} if of.hit is None else {"targeting": rule}),
        }

    return {"flags": {key: flag(of) for key, of in flags.items()}}


_FORMS = {"ours": _ours, "flagd": _flagd}


class Backend:
    """A sidecar that serves the canonical flags at one address, whether it runs or not."""

    def __init__(self, directory: Path, form: Form, arguments: tuple[str, ...]) -> None:
        self._directory = directory
        self._form = form
        self._arguments = arguments
        self._running = ExitStack()
        self._serves = "foo"
        self._served: Served | None = None

    @property
    def url(self) -> str:
        """Where it answers or last did."""
        assert self._served is not None
        return self._served.url

    def start(self) -> None:
        """Serve the flags as they were at first."""
        self._serves = "foo"
        self.restart()

    def stop(self) -> None:
        """Answer nobody."""
        self._running.close()

    def restart(self) -> None:
        """Stop, and serve the flags as they were then."""
        self.stop()
        serves = serving(self._directory, *self._arguments, definitions=self._definitions())
        self._served = self._running.enter_context(serves)

    def change(self) -> None:
        """Have `changing-flag` serve its other value."""
        self._put("bar" if self._serves == "foo" else "foo")

    def reset(self) -> None:
        """Undo each change while running."""
        self._put("foo")

    def _put(self, serves: str) -> None:
        assert self._served is not None
        self._serves = serves
        self._served.write(self._definitions())

    def _definitions(self) -> dict[str, Any]:
        changing = _FLAGS["changing-flag"]._replace(serves=self._serves)
        return _FORMS[self._form]({**_FLAGS, "changing-flag": changing})


@contextmanager
def running_backend(
    directory: Path, port: int, form: Form = "ours", *arguments: str
) -> Iterator[Backend]:
    """Run a backend on a port; on leaving it is stopped."""
    backend = Backend(directory, form, (f"--port={port}", *arguments))
    backend.start()
    try:
        yield backend
    finally:
        backend.stop()


_DEFAULTS: dict[Kind, Any] = {
    "boolean": False,
    "string": "fallback",
    "integer": 1,
    "float": 0.1,
    "object": {},
}


def _kind(flag: str) -> Kind:
    kind = _FLAGS[flag].kind
    kinds: dict[str, Kind] = {"boolean": "boolean", "string": "string", "integer": "integer"}
    return kinds.get(kind, "object" if kind == "object" else "float")


def _resolves(flag: str, default: Any, **but: Outcome) -> Case:
    of = _FLAGS[flag]
    expected = Outcome(of.variants[of.serves], "STATIC", of.serves)
    return Case(f"{flag} serves {of.serves}", flag, _kind(flag), default, expected, but=but)


def _disabled(flag: str) -> Case:
    default = _DEFAULTS[_kind(flag)]
    # The providers of JavaScript (0.1.3) and Java (0.0.2) know no answer without a value.
    but = {
        "node": Outcome(default, "ERROR", error="GENERAL"),
        "java": Outcome(default, "ERROR", error="FLAG_NOT_FOUND"),
    }
    expected = Outcome(default, "DISABLED", "")
    return Case(f"{flag} gives the default", flag, _kind(flag), default, expected, but=but)


def _targeted(name: str, variant: str, reason: str, key: str | None = None) -> Case:
    return Case(
        f"a targeting key that {name}",
        "targeting-key-flag",
        "string",
        "fallback",
        Outcome(variant, reason, variant),
        context={} if key is None else {"targetingKey": key},
    )


def _mismatch(flag: str, kind: Kind, **but: Outcome) -> Case:
    default = _DEFAULTS[kind]
    expected = Outcome(default, "ERROR", error="TYPE_MISMATCH")
    return Case(f"{flag} asked for as {kind}", flag, kind, default, expected, but=but)


CHANGING = Case("changing", "changing-flag", "string", "unset", Outcome("foo", "STATIC", "foo"))

# In Python a bool is an int, and the provider asks no further.
_BOOL_IS_INT = {"python": Outcome(True, "STATIC", "on")}
# JavaScript has one type of number and cannot narrow.
_ONE_NUMBER = {"node": Outcome(0.5, "STATIC", "half")}
_NO_COERCION = Outcome(1, "ERROR", error="TYPE_MISMATCH")

CASES: list[Case] = [
    _resolves("boolean-flag", False),
    _resolves("string-flag", "bye"),
    _resolves("integer-flag", 1),
    _resolves("float-flag", 0.1),
    _resolves("boolean-zero-flag", True),
    _resolves("integer-zero-flag", 1),
    _resolves("string-zero-flag", "fallback"),
    _resolves("large-integer-flag", 1),
    _resolves("huge-integer-flag", 1, java=_NO_COERCION),  # its integers have 32 bits
    _resolves("object-flag", {}),
    Case(
        "a context does not disturb a flag without targeting",
        "string-flag",
        "string",
        "bye",
        Outcome("hi", "STATIC", "greeting"),
        context={"targetingKey": _MISS},
    ),
    _targeted("matches", "hit", "TARGETING_MATCH", _HIT),
    _targeted("does not match", "miss", "DEFAULT", _MISS),
    _targeted("is not there", "miss", "DEFAULT"),
    *map(_disabled, (flag for flag, of in _FLAGS.items() if not of.enabled)),
    _mismatch("string-flag", "boolean"),
    _mismatch("string-flag", "integer"),
    _mismatch("string-flag", "float"),
    _mismatch("wrong-flag", "boolean"),
    _mismatch("boolean-flag", "string"),
    _mismatch("boolean-flag", "integer", **_BOOL_IS_INT),
    _mismatch("boolean-flag", "float"),
    _mismatch("integer-flag", "boolean"),
    _mismatch("integer-flag", "string"),
    _mismatch("float-flag", "boolean"),
    _mismatch("float-flag", "string"),
    _mismatch("object-flag", "boolean"),
    _mismatch("object-flag", "string"),
    _mismatch("object-flag", "integer"),
    _mismatch("object-flag", "float"),
    _mismatch("float-flag", "integer", **_ONE_NUMBER),
    Case(
        "a whole float asked for as integer",
        "integral-float-flag",
        "integer",
        1,
        Outcome(10, "STATIC", "ten"),
        but={"python": _NO_COERCION, "java": _NO_COERCION},  # which look at the type alone
    ),
    Case(
        "a flag that is not there",
        "missing-flag",
        "string",
        "fallback",
        Outcome("fallback", "ERROR", error="FLAG_NOT_FOUND"),
    ),
]

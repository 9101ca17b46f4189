"""How Unleash finds a value in a context, and what it takes for the identifier of a unit.

A field of Unleash's context is a text or missing. OFREP sends one flat object with `targetingKey`;
Unleash's own form, with `properties`, is understood as it is:

    userId                             `userId`, or else `targetingKey`
    sessionId, environment, appName,   the member of that name
    currentTime, remoteAddress
    any other name                     the member of `properties`, or else the member of that name

Numbers and booleans are the text that JavaScript's `String` makes of them; null, lists and objects
are missing. `environment` and `appName`, which Unleash's SDKs are configured with, can be options.

Identifiers: an empty text is none. Stickiness `default` takes the user, or else the session.
`random` draws anew at each call, which a function of the context cannot; it takes `targetingKey`,
or else the user, or else the session. An identifier without UTF-8 is none.
"""

from collections.abc import Callable, Mapping
from typing import Any

from proxy.contract.definitions import TARGETING_KEY
from proxy.engine import program as p
from proxy.engine.dialects.javascript import number_text

__all__ = ["CONFIGURED", "DEFAULT", "RANDOM", "Operands", "encode_unit", "field_text"]

DEFAULT = "default"
RANDOM = "random"

CONFIGURED = ("appName", "environment")
"""Fields that an SDK is configured with, so that clients of OFREP may not send them."""

_FIELDS = ("sessionId", "environment", "appName", "currentTime", "remoteAddress")
_PROPERTIES = "properties"

_Fetch = Callable[[dict[str, Any]], str | None]


class Operands:
    """The operands of one translation: each once, so that an evaluation fetches it once."""

    def __init__(self, configured: Mapping[str, Any]) -> None:
        self._configured = {
            name: value
            for name in CONFIGURED
            if isinstance(value := configured.get(name), str) and value
        }
        self._fields: dict[str, p.Operand] = {}
        self._units: dict[str, p.Operand] = {
            DEFAULT: p.Operand(
                "userId, else sessionId",
                _first_unit("userId", TARGETING_KEY, "sessionId"),
                frozenset(("userId", TARGETING_KEY, "sessionId")),
            ),
            RANDOM: p.Operand(
                "targetingKey, else userId, else sessionId",
                _first_unit(TARGETING_KEY, "userId", "sessionId"),
                frozenset(("userId", TARGETING_KEY, "sessionId")),
            ),
        }

    def field(self, name: str) -> p.Operand:
        """Return the operand of a field."""
        operand = self._fields.get(name)
        if operand is None:
            operand = self._fields[name] = self._made(name)
        return operand

    def unit(self, stickiness: str) -> p.Operand:
        """Return the operand of what a rollout or variants are sticky on."""
        return self._units.get(stickiness) or self.field(stickiness)

    def _made(self, name: str) -> p.Operand:
        if name == "userId":
            return p.Operand(name, _user_id, frozenset((name, TARGETING_KEY)))
        if name in self._configured:
            return p.Operand(name, _or(name, self._configured[name]), frozenset((name,)))
        if name in _FIELDS:
            return p.Operand(name, _member(name), frozenset((name,)))
        return p.Operand(name, _property(name), frozenset((_PROPERTIES, name)))


def encode_unit(value: str | None) -> bytes | None:
    """Return what is hashed of an identifier, None for what is none."""
    if not value:
        return None
    try:
        return value.encode()
    except UnicodeEncodeError:
        return None


def field_text(value: Any) -> str | None:
    """Return the text that a value is to Unleash, None for what is missing."""
    kind = value.__class__
    if kind is str:
        return value  # type: ignore[no-any-return]  # its class says so
    if kind is bool:
        return "true" if value else "false"
    return number_text(value) if kind is int or kind is float else None


def _user_id(context: dict[str, Any]) -> str | None:
    value = context.get("userId")
    if value is None:
        value = context.get(TARGETING_KEY)
    return value if value.__class__ is str else field_text(value)


def _member(name: str) -> _Fetch:
    def fetch(context: dict[str, Any]) -> str | None:
        value = context.get(name)
        return value if value.__class__ is str else field_text(value)

    return fetch


def _or(name: str, configured: str) -> _Fetch:
    def fetch(context: dict[str, Any]) -> str | None:
        found = field_text(context.get(name))
        return configured if found is None else found

    return fetch


def _property(name: str) -> _Fetch:
    def fetch(context: dict[str, Any]) -> str | None:
        properties = context.get(_PROPERTIES)
        value = properties.get(name) if properties.__class__ is dict else None
        if value is None:
            value = context.get(name)
        return value if value.__class__ is str else field_text(value)

    return fetch


def _first_unit(*names: str) -> _Fetch:
    def fetch(context: dict[str, Any]) -> str | None:
        for name in names:
            value = context.get(name)
            found = value if value.__class__ is str else field_text(value)
            if found:
                return found
        return None

    return fetch

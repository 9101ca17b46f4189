"""What the clients are asked, and what an application must get: one table for every client.

`DEFINITIONS` is the file that the sidecar serves. A `Case` is one evaluation through an OpenFeature
client; `expected` is what the protocol says comes out of it. Where a published version of a client
does something else, `but` says what that client really does, and the comment beside it why: the
server cannot mend it, and the line tells us when the client has changed.

Change together: a member of an answer that applications can see needs a case here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

__all__ = ["CASES", "DEFINITIONS", "Case", "Outcome", "configured", "simple", "stale", "with_flag"]

Kind = Literal["boolean", "string", "integer", "float", "object"]


@dataclass(frozen=True)
class Outcome:
    """What an application sees of an evaluation: an error leaves it with its own default."""

    value: Any
    reason: str
    variant: str | None = None
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One evaluation: `kind` is the client method that is called, `default` what it is given."""

    name: str
    flag: str
    kind: Kind
    default: Any
    expected: Outcome
    context: dict[str, Any] = field(default_factory=dict)
    but: Mapping[str, Outcome] = field(default_factory=dict)

    def seen_by(self, client: str) -> Outcome:
        """Return what comes out of the published version of a client."""
        return self.but.get(client, self.expected)


def with_flag(definitions: dict[str, Any], flag: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions with the flag of the same key replaced."""
    kept = [f for f in definitions["flags"] if f["key"] != flag["key"]]
    return {**definitions, "flags": [*kept, flag]}


def simple(key: str, kind: str, value: Any, **members: Any) -> dict[str, Any]:
    """Return a flag that serves one value to everybody."""
    return {"key": key, "type": kind, "value": value, "enabled": True, **members}


def configured(key: str, kind: str, variants: dict[str, Any], **config: Any) -> dict[str, Any]:
    """Return a flag in full, `config` being its configuration in production."""
    production = {"enabled": True, **config}
    return {
        "key": key,
        "type": kind,
        "variants": variants,
        "environments": {"production": production},
    }


_ON_OFF = {"on": True, "off": False}
_LARGEST_EXACT = 2**53 - 1  # beyond it JavaScript cannot tell whole numbers apart
_METADATA = {"team": "payments", "level": 3, "ratio": 0.5, "beta": True}
_NOBODY = {"sourceError": "FLAG_CONFIG"}
_OBJECT = {"title": "Grüße", "sizes": [1, 2.5], "nested": {"deep": [True, None]}}


def _imported(key: str, dialect: str, definition: dict[str, Any]) -> dict[str, Any]:
    """Return a boolean flag that another system's definition decides."""
    source = {"dialect": dialect, "definition": {**definition, _VARIANTS[dialect]: _ON_OFF}}
    return configured(key, "boolean", _ON_OFF, fallthrough={"variant": "off"}, source=source)


_VARIANTS = {"flagd": "variants", "goff": "variations"}


def _halves(**rollout: Any) -> dict[str, Any]:
    """Return a serve of two halves. With salt f3b1, u-1 is in bucket 86271 and ä in 1659."""
    arms = [{"variant": "on", "weight": 50_000}, {"variant": "off", "weight": 50_000}]
    return {"rollout": {"arms": arms, **rollout}}


DEFINITIONS: dict[str, Any] = {
    "segments": [
        {
            "key": "beta",
            "when": {"attribute": "email", "op": "ends_with", "values": ["@example.com"]},
            "included": ["tester"],
        }
    ],
    "flags": [
        simple("bool-true", "boolean", True, metadata=_METADATA),
        simple("bool-false", "boolean", False),
        simple("text", "string", "blue"),
        simple("text-empty", "string", ""),
        simple("integer", "integer", 42),
        simple("integer-zero", "integer", 0),
        simple("integer-largest", "integer", _LARGEST_EXACT),
        simple("number", "number", 0.25),
        simple("number-whole", "number", 10),  # served as 10.0: its type is not its author's luck
        simple("number-zero", "number", 0),
        simple("object", "object", _OBJECT),
        simple("object-empty", "object", {}),
        simple("team/check.out", "boolean", True),
        simple("größe 2", "string", "ü"),
        configured(
            "disabled-with-off",
            "string",
            {"new": "new", "old": "old"},
            enabled=False,
            off_variant="old",
            fallthrough={"variant": "new"},
        ),
        *(
            configured(
                f"disabled-{kind}",
                kind,
                {"default": value},
                enabled=False,
                fallthrough={"variant": "default"},
            )
            for kind, value in (("boolean", True), ("string", "x"), ("integer", 1), ("object", {}))
        ),
        configured(
            "broken",
            "boolean",
            _ON_OFF,
            rules=[
                {
                    "id": "bad",
                    "when": {"attribute": "a", "op": "equalz", "values": [1]},
                    "serve": {"variant": "on"},
                }
            ],
            fallthrough={"variant": "off"},
        ),
        {
            **configured(
                "targeted",
                "string",
                {"eu": "eu", "beta": "beta", "vip": "vip", "other": "other"},
                targets=[{"variant": "vip", "units": ["u-vip"]}],
                rules=[
                    {
                        "id": "europe",
                        "when": {
                            "all": [
                                {"attribute": "country", "op": "in", "values": ["DE", "FR"]},
                                {"attribute": "app.build", "op": "gte", "values": [100]},
                            ]
                        },
                        "serve": {"variant": "eu"},
                    },
                    {"id": "testers", "when": {"segment": "beta"}, "serve": {"variant": "beta"}},
                ],
                fallthrough={"variant": "other"},
            ),
            "metadata": {"team": "growth"},
        },
        configured("split", "boolean", _ON_OFF, salt="f3b1", fallthrough=_halves()),
        configured(
            "split-by-account", "boolean", _ON_OFF, salt="f3b1", fallthrough=_halves(by="account")
        ),
        configured(
            "split-in-rule",
            "boolean",
            _ON_OFF,
            salt="f3b1",
            rules=[
                {
                    "id": "pro",
                    "when": {"attribute": "plan", "op": "equals", "values": ["pro"]},
                    "serve": _halves(),
                }
            ],
            fallthrough={"variant": "off"},
        ),
        _imported("goff-split", "goff", {"defaultRule": {"percentage": {"on": 50, "off": 50}}}),
        _imported(
            "goff-nobody",
            "goff",
            {
                "targeting": [{"query": 'plan eq "pro"', "percentage": {"on": 0, "off": 0}}],
                "defaultRule": {"variation": "off"},
            },
        ),
        _imported("flagd-undecided", "flagd", {"state": "ENABLED", "defaultVariant": None}),
    ],
}


def _served(case: str, flag: str, kind: Kind, default: Any, value: Any, variant: str) -> Case:
    """Return a case of a flag without rules."""
    return Case(case, flag, kind, default, Outcome(value, "STATIC", variant))


def _default(case: str, flag: str, kind: Kind, default: Any, reason: str) -> Case:
    """Return a case of an answer without a value, which means the application's default."""
    # The Node provider 0.1.3 knows no such answer, nor does the Java provider 0.0.2, and the Go
    # provider 0.1.7 only of a disabled flag. The application gets its own default from them all
    # the same, but reads an error where there is none.
    go = {} if reason == "DISABLED" else {"go": Outcome(default, "ERROR", error="TYPE_MISMATCH")}
    return Case(
        f"{case} gives the application's default",
        flag,
        kind,
        default,
        Outcome(default, reason, ""),
        but={
            "node": Outcome(default, "ERROR", error="GENERAL"),
            "java": Outcome(default, "ERROR", error="FLAG_NOT_FOUND"),
            **go,
        },
    )


def stale(flag: str, kind: Kind, default: Any) -> Case:
    """Return a case of a flag that is too old: answered as one that is disabled, and says why."""
    case = _default("a flag that is too old", flag, kind, default, "DISABLED")
    metadata = {"stale": True}
    # The Java provider keeps the metadata of what it takes for an error.
    but = {**case.but, "java": replace(case.but["java"], metadata=metadata)}
    return replace(case, expected=replace(case.expected, metadata=metadata), but=but)


def _disabled(kind: Kind, default: Any) -> Case:
    what = f"a disabled {kind} flag without an off variant"
    return _default(what, f"disabled-{kind}", kind, default, "DISABLED")


def _failing(case: str, flag: str, error: str, **context: Any) -> Case:
    # The Java provider 0.0.2 does not read the code of a 400, only what else is in its body.
    but = {} if error == "FLAG_NOT_FOUND" else {"java": "INVALID_CONTEXT"}
    return Case(
        case,
        flag,
        "boolean",
        True,
        Outcome(True, "ERROR", error=error),
        context=context,
        but={client: Outcome(True, "ERROR", error=code) for client, code in but.items()},
    )


_EUROPEAN = {"targetingKey": "u-9", "country": "FR", "app": {"build": 100}}

CASES: list[Case] = [
    Case(
        "a boolean with its metadata",
        "bool-true",
        "boolean",
        False,
        Outcome(True, "STATIC", "on", metadata=_METADATA),
    ),
    _served("false is not taken for absent", "bool-false", "boolean", True, False, "off"),
    _served("a string", "text", "string", "red", "blue", "default"),
    _served("an empty string", "text-empty", "string", "red", "", "default"),
    _served("an integer", "integer", "integer", 1, 42, "default"),
    _served("zero", "integer-zero", "integer", 1, 0, "default"),
    Case(
        "the largest exact integer",
        "integer-largest",
        "integer",
        1,
        Outcome(_LARGEST_EXACT, "STATIC", "default"),
        but={"java": Outcome(1, "ERROR", error="TYPE_MISMATCH")},  # its integers have 32 bits
    ),
    _served("a fraction", "number", "float", 1.5, 0.25, "default"),
    _served("a whole number stays a float", "number-whole", "float", 1.5, 10.0, "default"),
    _served("zero as a float", "number-zero", "float", 1.5, 0.0, "default"),
    _served("an object", "object", "object", {"a": 1}, _OBJECT, "default"),
    _served("an empty object", "object-empty", "object", {"a": 1}, {}, "default"),
    _served("a key with a slash and a dot", "team/check.out", "boolean", False, True, "on"),
    Case(
        "a key with a space and an umlaut",
        "größe 2",
        "string",
        "",
        Outcome("ü", "STATIC", "default"),
        but={"java": Outcome("", "ERROR", error="GENERAL")},  # puts it into a URL as it is
    ),
    Case(
        "a disabled flag serves its off variant",
        "disabled-with-off",
        "string",
        "mine",
        Outcome("old", "DISABLED", "old"),
        # To the Go provider 0.1.7 a disabled flag has no value.
        but={"go": Outcome("mine", "DISABLED", "old")},
    ),
    _disabled("boolean", True),
    _disabled("string", "mine"),
    _disabled("integer", 7),
    _disabled("object", {"mine": True}),
    _failing("an unknown flag", "no-such-flag", "FLAG_NOT_FOUND"),
    _failing("an unknown flag below a known one", "bool-true/more", "FLAG_NOT_FOUND"),
    _failing("a flag that does not compile is quarantined", "broken", "PARSE_ERROR"),
    _failing("a split without a targeting key", "split", "TARGETING_KEY_MISSING"),
    _failing(
        "a split by an attribute that is not there",
        "split-by-account",
        "INVALID_CONTEXT",
        targetingKey="u-1",
    ),
    _failing("a split of GO Feature Flag without its key", "goff-split", "TARGETING_KEY_MISSING"),
    Case(
        "a rule of GO Feature Flag that gives nobody anything, with the metadata of the error",
        "goff-nobody",
        "boolean",
        True,
        Outcome(True, "ERROR", error="GENERAL", metadata=_NOBODY),
        context={"targetingKey": "u-1", "plan": "pro"},
        but={  # the providers of Python, JavaScript and Go leave the metadata of errors out
            **dict.fromkeys(("python", "node", "go"), Outcome(True, "ERROR", error="GENERAL")),
            "java": Outcome(True, "ERROR", error="INVALID_CONTEXT", metadata=_NOBODY),
        },
    ),
    _default(
        "a flag of flagd without a default variant", "flagd-undecided", "boolean", True, "DEFAULT"
    ),
    Case(
        "a rule that matches, with its id and the flag's metadata",
        "targeted",
        "string",
        "mine",
        Outcome("eu", "TARGETING_MATCH", "eu", metadata={"team": "growth", "ruleId": "europe"}),
        context=_EUROPEAN,
    ),
    Case(
        "a segment, by condition",
        "targeted",
        "string",
        "mine",
        Outcome(
            "beta", "TARGETING_MATCH", "beta", metadata={"team": "growth", "ruleId": "testers"}
        ),
        context={"targetingKey": "u-9", "email": "ann@example.com"},
    ),
    Case(
        "a segment, by its list of units",
        "targeted",
        "string",
        "mine",
        Outcome(
            "beta", "TARGETING_MATCH", "beta", metadata={"team": "growth", "ruleId": "testers"}
        ),
        context={"targetingKey": "tester"},
    ),
    Case(
        "a unit that is targeted, before any rule",
        "targeted",
        "string",
        "mine",
        Outcome("vip", "TARGETING_MATCH", "vip", metadata={"team": "growth"}),
        context={**_EUROPEAN, "targetingKey": "u-vip"},
    ),
    Case(
        "rules of which none matches",
        "targeted",
        "string",
        "mine",
        Outcome("other", "DEFAULT", "other", metadata={"team": "growth"}),
        context={**_EUROPEAN, "app": {"build": 99}},
    ),
    Case(
        "rules without any context",
        "targeted",
        "string",
        "mine",
        Outcome("other", "DEFAULT", "other", metadata={"team": "growth"}),
    ),
    Case(
        "the upper half of a split",
        "split",
        "boolean",
        True,
        Outcome(False, "SPLIT", "off"),
        context={"targetingKey": "u-1"},
    ),
    Case(
        "the lower half of a split, and a unit beyond ASCII",
        "split",
        "boolean",
        False,
        Outcome(True, "SPLIT", "on"),
        context={"targetingKey": "ä"},
    ),
    Case(
        "a split by another attribute",
        "split-by-account",
        "boolean",
        True,
        Outcome(False, "SPLIT", "off"),
        context={"targetingKey": "ä", "account": 42},
    ),
    Case(
        "a split within a rule",
        "split-in-rule",
        "boolean",
        False,
        Outcome(True, "SPLIT", "on", metadata={"ruleId": "pro"}),
        context={"targetingKey": "ä", "plan": "pro"},
    ),
    Case(
        "a rule whose split lacks its unit does not match",
        "split-in-rule",
        "boolean",
        True,
        Outcome(False, "DEFAULT", "off"),
        context={"plan": "pro"},
    ),
    Case(
        "a string asked for as a boolean",
        "text",
        "boolean",
        True,
        Outcome(True, "ERROR", error="TYPE_MISMATCH"),
    ),
    Case(
        "a boolean asked for as a string",
        "bool-true",
        "string",
        "mine",
        Outcome("mine", "ERROR", error="TYPE_MISMATCH"),
        # The providers of Java and of pages hand the metadata of a value on that they do not.
        but=dict.fromkeys(
            ("java", "web"), Outcome("mine", "ERROR", error="TYPE_MISMATCH", metadata=_METADATA)
        ),
    ),
    Case(
        "an integer asked for as a float",
        "integer",
        "float",
        1.5,
        Outcome(42.0, "STATIC", "default"),
        # The providers of Python and Java want a float by type. The literal 42 is what the flag's
        # type promises to those who ask for an integer, so it stays.
        but=dict.fromkeys(("python", "java"), Outcome(1.5, "ERROR", error="TYPE_MISMATCH")),
    ),
    Case(
        "a float asked for as an integer",
        "number-whole",
        "integer",
        1,
        # JavaScript has one type of number and cannot tell.
        Outcome(10, "STATIC", "default"),
        but=dict.fromkeys(("python", "java"), Outcome(1, "ERROR", error="TYPE_MISMATCH")),
    ),
    Case(
        "a boolean asked for as an integer",
        "bool-false",
        "integer",
        7,
        Outcome(7, "ERROR", error="TYPE_MISMATCH"),
        # In Python a bool is an int, and the provider asks no further.
        but={"python": Outcome(False, "STATIC", "off")},
    ),
]

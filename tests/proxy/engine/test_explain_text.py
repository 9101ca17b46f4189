"""An explanation as a person reads it in a terminal."""

import msgspec
from msgspec import UNSET

from proxy.contract.explanation import Explanation, Step
from proxy.engine import explanation_text, result_text
from tests.proxy.engine.builders import FALLTHROUGH_SPLIT, document, leaf, rule
from tests.proxy.engine.test_explain import Project


def lines(explanation: Explanation) -> list[str]:
    """Return the lines of the text."""
    return explanation_text(explanation).splitlines()


def test_a_whole_explanation_reads_like_this() -> None:
    """Result first, then the tree; marks before each line."""
    rules = [
        rule(
            {"all": [leaf("country", "in", "DE", "FR"), {"segment": "beta"}, leaf("x", "exists")]},
            id="beta-eu",
        ),
        rule({"all": []}, FALLTHROUGH_SPLIT, id="half"),
        rule(leaf("y", "exists"), id="late"),
    ]
    project = Project(
        {"checkout": document(rules=rules)}, {"beta": {"when": leaf("plan", "equals", "beta")}}
    )
    made = project.explain("checkout", {"targetingKey": "u-1", "country": "DE"})
    assert explanation_text(made) == (
        """checkout
  value    false
  variant  off
  reason   SPLIT
  because  rule half matched; bucket 86271 of [50000, 100000) gets off
  metadata {"ruleId": "half"}
  at       2026-12-01T12:00:00Z

✓ enabled: the flag is enabled
✗ rule beta-eu: not in the segment beta
    ✗ all of 3: number 2 of 3 does not hold
        ✓ country in ["DE", "FR"]: country is "DE"
        ✗ segment beta: its condition does not hold
            ✗ plan equals "beta": the context has no plan
        · x exists: not looked at
▶ rule half: it is for everybody; bucket 86271 of [50000, 100000) gets off → off
    murmur3_32("f3b1.u-1") → bucket 86271 of 100000
    · [0, 50000) → on
    ✓ [50000, 100000) → off
· not reached: rule late, fallthrough
"""
    )


def test_problems_and_near_keys_are_shown() -> None:
    """What to do about an error."""
    project = Project({"good": document(), "bad": document(fallthrough={"variant": "none"})})
    text = explanation_text(project.explain("bad"))
    assert "problem  /fallthrough/variant: the flag has no variant 'none' [unknown_variant]" in text
    assert "  error    PARSE_ERROR: " in text
    assert "  nearest  good" in lines(project.explain("goood"))


def test_of_many_steps_not_reached_the_first_are_named() -> None:
    """On one line."""
    rules = [rule({"all": []}, id="r0")] + [rule({"all": []}, id=f"r{n}") for n in range(1, 20)]
    made = Project({"f": document(rules=rules)}).explain("f")
    named = ", ".join(f"rule r{n}" for n in range(1, 9))
    assert lines(made)[-1] == f"· not reached: {named} and 12 more"


def test_what_turns_text_round_or_ends_a_line_is_written_out() -> None:
    """As `validate` does: what is shown is what is there."""
    body = msgspec.json.encode({"key": "a\u202eb\u2028c\u00e4", "value": "\u200f"})
    text = result_text(body)
    assert text.startswith(r"a\u202eb\u2028c" + "\u00e4\n")
    assert r'"\u200f"' in text


def test_control_characters_are_written_out() -> None:
    """A value or a name cannot move the cursor, or end the line."""
    nasty = "a\x1b[2J\nb\x9b"
    made = Explanation(
        nasty, "now", msgspec.Raw(b'{"key":"k","value":1}'), nasty, [Step("rule", True, nasty)]
    )
    text = explanation_text(made)
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert r"a\x1b[2J\nb\x9b" in text


def test_a_result_alone_is_short() -> None:
    """What `evaluate` prints without --explain."""
    body = b'{"key":"k","value":10.0,"variant":"ten","reason":"STATIC"}'
    assert result_text(body) == "k\n  value    10.0\n  variant  ten\n  reason   STATIC\n"
    default = b'{"key":"k","variant":"","reason":"DISABLED"}'
    expected = "k\n  value    the default of the application\n  reason   DISABLED\n  because  x\n"
    assert result_text(default, "x") == expected


def test_an_error_that_is_served_says_its_code() -> None:
    """It is nothing the application's default would be chosen for; nor is a variant without one."""
    project = Project(
        {"f": document(fallthrough=FALLTHROUGH_SPLIT), "off": document(enabled=False)}
    )
    made = project.explain("f", {})
    assert lines(made)[-3].endswith(" → the error TARGETING_KEY_MISSING")
    assert "the default of the application" not in explanation_text(made)
    assert made.steps[-1].variant is UNSET
    assert "▶ enabled: " in explanation_text(project.explain("off"))
    assert " → the default of the application" in explanation_text(project.explain("off"))


def test_half_of_a_surrogate_pair_is_written_out_once() -> None:
    """As one backslash, in a value, in a sentence about it, and in a name."""
    half = "\ud83d"
    when = leaf("plan", "equals", "pro")
    project = Project({"f": document(rules=[rule(when), rule(leaf("tags", "any_of", "x"))])})
    text = explanation_text(project.explain("f", {"plan": half, "tags": [half, {half: half}]}))
    assert r'plan is "\ud83d"' in text
    assert r'tags is ["\ud83d", {"\ud83d": "\ud83d"}]' in text
    assert r"\\ud83d" not in text

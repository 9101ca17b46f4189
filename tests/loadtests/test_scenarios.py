"""The flags and contexts of the scenarios."""

import json

import pytest

from loadtests.scenarios import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_contexts_differ(name: str) -> None:
    """Each is another document, so that no server answers from what it saw just before."""
    scenario = SCENARIOS[name]
    contexts = scenario.contexts(scenario.count)
    assert len({json.dumps(context) for context in contexts}) == len(contexts) == scenario.count


def test_repeated_contexts_repeat_what_flags_read() -> None:
    """They differ in one attribute, and no flag reads that one."""
    scenario = SCENARIOS["bulk350-repeated"]
    flags = scenario.flags()
    read = {c.attribute for flag in flags.flags for rule in flag.rules for c in rule.conditions}
    contexts = scenario.contexts(1_000)
    names = {name for context in contexts for name in context}
    assert names - read == {"targetingKey", "session"}
    relevant = [{name: c[name] for name in names - {"session"}} for c in contexts]
    assert len({json.dumps(context, sort_keys=True) for context in relevant}) == 50


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_outcome_occurs(name: str) -> None:
    """A set of flags that all serve one thing to everybody would measure nothing."""
    scenario = SCENARIOS[name]
    flags = scenario.flags()
    for flag in flags.flags:
        possible = {flags.possible(flag, context) for context in scenario.contexts(2_000)}
        assert len(possible) > 1 or not flag.rules, flag.key
    assert sum(1 for flag in flags.flags if flag.rules) >= 0.8 * len(flags.flags)

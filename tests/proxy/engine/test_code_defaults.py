"""Flags that leave the decision to the application."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.snapshot import read_snapshot
from proxy.contract.steps import finish
from proxy.engine import CompiledSnapshot, code_defaults, compile_snapshot
from tests.proxy.ofrep.server import DEFINITIONS, keys
from tests.support.snapshots import make_snapshot


@pytest.fixture(scope="module")
def compiled() -> CompiledSnapshot:
    """Flags of every kind."""
    snapshot = finish(read_snapshot(make_snapshot(DEFINITIONS, more=keys())[1]))
    return finish(compile_snapshot(snapshot.entries))


def test_each_flag_answers_without_a_value_and_why(compiled: CompiledSnapshot) -> None:
    """The broken ones too; the same to everybody; who may see them stays."""
    flags = finish(code_defaults(compiled))
    assert list(flags) == list(compiled.flags)
    body = b'{"key":"text","variant":"","reason":"DISABLED","metadata":{"stale":true}}'
    assert flags["text"].evaluate({}, 0).body == body
    for key, flag in flags.items():
        answer = flag.evaluate({"targetingKey": "u"}, 0)
        assert (answer.status, answer.key, answer.variant) == (200, key, "")
        assert flag.answers == (answer,)
        assert flag.static
        assert flag.client_side == compiled.flags[key].client_side
        assert flag.attributes == frozenset()
        assert not flag.timing.moments


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=3), st.integers(0, 2**40))
def test_no_context_and_no_time_changes_it(context: dict[str, int], now_ms: int) -> None:
    """A flag that is too old has nothing to say to anybody."""
    snapshot = finish(read_snapshot(make_snapshot({"a": DEFINITIONS["split"]})[1]))
    flag = finish(code_defaults(finish(compile_snapshot(snapshot.entries))))["a"]
    assert flag.evaluate(context, now_ms) is flag.answers[0]


def test_the_work_is_done_in_small_steps(compiled: CompiledSnapshot) -> None:
    """Others have the loop in between."""
    steps = code_defaults(compiled)
    assert sum(1 for _ in steps) >= len(compiled.flags)

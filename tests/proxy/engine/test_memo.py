"""What many evaluations of one context share is computed once, and is what it would be alone."""

from typing import Any

from proxy.contract.steps import finish
from proxy.engine import Memo, compile_snapshot, evaluate
from tests.proxy.engine.builders import definition, entries, leaf, rule
from tests.proxy.engine.builders import segment_definition as defined


class Counting(dict[str, Any]):
    """A context that counts how often a member is asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked: list[str] = []

    def get(self, key: str, default: Any = None) -> Any:
        """Count and get."""
        self.asked.append(key)
        return super().get(key, default)


WANTED = [{"flag": "asked", "variants": ["on"]}]
SNAPSHOT = finish(
    compile_snapshot(
        entries(
            ("segment", "inner", defined(when=leaf("in_segment", "exists"))),
            ("segment", "outer", defined(when={"segment": "inner"})),
            ("flag", "asked", definition(rules=[rule(leaf("in_flag", "exists"))])),
            *(
                ("flag", f"f{i}", definition(rules=[rule({"segment": name})], prerequisites=WANTED))
                for i, name in enumerate(["inner", "outer", "inner", "outer"])
            ),
        )
    )
)


def test_segments_and_prerequisites_are_computed_once() -> None:
    """For all flags that ask them, through other segments too."""
    context = Counting(in_segment=1, in_flag=1)
    memo = Memo(context, 0)
    answers = [evaluate(SNAPSHOT, f"f{i}", context, 0, memo) for i in range(4)]
    assert {answer.variant for answer in answers} == {"on"}
    assert sorted(context.asked) == ["in_flag", "in_segment"]


def test_without_a_memo_each_flag_asks_for_itself() -> None:
    """Nothing is kept from one evaluation to the next."""
    context = Counting(in_segment=1, in_flag=1)
    for i in range(4):
        assert evaluate(SNAPSHOT, f"f{i}", context, 0).variant == "on"
    assert sorted(context.asked) == ["in_flag"] * 4 + ["in_segment"] * 4


def test_a_condition_that_does_not_hold_is_kept_too() -> None:
    """False is a result."""
    context = Counting(in_flag=1)
    memo = Memo(context, 0)
    for i in range(4):
        assert evaluate(SNAPSHOT, f"f{i}", context, 0, memo).variant == "off"
    assert sorted(context.asked) == ["in_flag", "in_segment"]


def test_what_is_not_needed_is_not_computed() -> None:
    """A segment behind a prerequisite that fails is not asked."""
    context = Counting(in_segment=1)
    memo = Memo(context, 0)
    for i in range(4):
        assert evaluate(SNAPSHOT, f"f{i}", context, 0, memo).metadata == {"prerequisite": "asked"}
    assert context.asked == ["in_flag"]

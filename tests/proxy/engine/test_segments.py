"""Segments compile in the order they name each other; a broken one spoils only its users."""

from typing import Any

from proxy.contract.definitions import SegmentDefinition
from proxy.contract.snapshot import Entry, read_entry
from proxy.contract.steps import finish
from proxy.engine import limits
from proxy.engine.compiled import CompiledSegment
from proxy.engine.segments import compile_segments, errors, unusable
from proxy.engine.validate import check_flag
from tests.proxy.engine.builders import authored, entries, leaf
from tests.proxy.engine.builders import segment_definition as defined


def naming(*names: str) -> SegmentDefinition:
    """Return a segment that is any of others."""
    return defined(when={"any": [{"segment": name} for name in names]})


def lines(**named: SegmentDefinition) -> dict[str, Entry]:
    """Return segments as lines of a snapshot."""
    made = entries(*(("segment", key, definition) for key, definition in named.items()))
    return {key: entry for (_, key), entry in made.items()}


def compiled(
    sources: Any, previous: dict[str, CompiledSegment] | None = None
) -> dict[str, CompiledSegment]:
    """Return the compiled segments."""
    return finish(compile_segments(sources, previous))


def test_segments_within_segments_hold() -> None:
    """In whatever order they come."""
    segments = compiled(
        {
            "top": defined(when={"all": [{"segment": "eu"}, {"not": {"segment": "staff"}}]}),
            "eu": defined(when=leaf("country", "in", "DE", "FR")),
            "staff": defined(included=["u-1"]),
        }
    )
    top = segments["top"]
    assert top.holds({"country": "DE"}, 0)
    assert not top.holds({"country": "DE", "targetingKey": "u-1"}, 0)
    assert not top.holds({"country": "US"}, 0)
    assert top.attributes == {"country", "targetingKey"}
    assert (top.nesting, top.conditions) == (2, 3)


def test_a_large_list_of_units_holds_them() -> None:
    """As many as are allowed."""
    units = [f"user-{i}" for i in range(limits.MAX_SEGMENT_UNITS)]
    segment = compiled({"s": defined(included=units)})["s"]
    assert segment.holds({"targetingKey": units[-1]}, 0)
    assert not segment.holds({"targetingKey": "user-x"}, 0)
    assert not segment.holds({"targetingKey": ["user-1"]}, 0)


def test_cycles_are_named_and_those_that_name_them() -> None:
    """The others go on."""
    segments = compiled(
        {"a": naming("b"), "b": naming("a"), "c": naming("a"), "d": defined(included=["u"])}
    )
    assert {key for key, segment in segments.items() if segment.problems} == {"a", "b", "c"}
    assert segments["a"].problems[0].code == "segment_cycle"
    assert segments["d"].holds({"targetingKey": "u"}, 0)


def test_a_broken_segment_spoils_those_that_name_it() -> None:
    """With its own reason, named where it is named."""
    segments = compiled(
        {"a": defined(when=leaf("x", "eqals", 1)), "b": naming("a"), "c": naming("b")}
    )
    assert [(p.pointer, p.code) for p in segments["c"].problems] == [
        ("/when/any/0/segment", "unknown_operator")
    ]
    assert "'b'" in segments["c"].problems[0].message


def test_a_line_that_does_not_decode_is_a_problem_of_its_own() -> None:
    """An unknown member might be a condition that is not understood."""
    line = b'{"kind":"segment","key":"a","def":{"when":{"any":[]},"percent":5}}'
    segments = compiled({"a": read_entry(line), "b": naming("a")})
    assert segments["a"].problems[0].code == "unknown_field"
    assert segments["b"].problems[0].code == "unknown_field"


def test_an_unknown_segment_is_a_problem() -> None:
    """And mended when it appears."""
    first = compiled(lines(a=naming("b")))
    assert first["a"].problems[0].code == "unknown_segment"
    second = compiled(lines(a=naming("b"), b=defined(included=["u"])), first)
    assert second["a"].holds({"targetingKey": "u"}, 0)


def test_warnings_do_not_spoil_a_segment() -> None:
    """It means what it says."""
    segments = compiled({"a": defined(included=["u", "u"])})
    assert segments["a"].problems == ()


def test_too_deep_a_chain_is_a_problem_of_its_upper_end() -> None:
    """The lower end can be used."""
    most = limits.MAX_SEGMENT_NESTING
    chain = {f"s{i}": naming(f"s{i + 1}") for i in range(most)} | {f"s{most}": defined()}
    segments = compiled(chain)
    assert [key for key, segment in segments.items() if segment.problems] == ["s0"]
    assert segments["s0"].problems[0].code == "segment_too_deep"


def test_doubling_is_bounded() -> None:
    """What conditions would have cost together."""
    chain = {f"d{i}": naming(f"d{i - 1}", f"d{i - 1}") for i in range(1, 12)}
    segments = compiled({**chain, "d0": defined(when=leaf("x", "exists"))})
    assert segments["d9"].problems[0].code == "too_many"
    assert not segments["d8"].problems
    assert (
        segments["d8"].conditions == 766
    )  # d0 has 1, each next one twice the last, and its two names


def test_unchanged_segments_are_taken_over() -> None:
    """Also those that name others, when none of those changed."""
    first = compiled(lines(a=naming("b"), b=defined(included=["u"]), c=defined()))
    again = compiled(lines(a=naming("b"), b=defined(included=["u"]), c=defined()), first)
    assert all(again[key] is first[key] for key in first)


def test_a_changed_segment_is_new_and_so_are_those_that_name_it() -> None:
    """The others are taken over; the new ones hold what the change says."""
    first = compiled(lines(a=naming("b"), b=defined(included=["u"]), c=defined()))
    second = compiled(lines(a=naming("b"), b=defined(included=["v"]), c=defined()), first)
    assert second["c"] is first["c"]
    assert second["a"].holds({"targetingKey": "v"}, 0)
    assert not second["a"].holds({"targetingKey": "u"}, 0)


def test_a_removed_segment_is_missed() -> None:
    """By those that name it."""
    first = compiled(lines(a=naming("b"), b=defined()))
    second = compiled(lines(a=naming("b")), first)
    assert second["a"].problems[0].code == "unknown_segment"


def test_a_cycle_can_be_mended() -> None:
    """By a change elsewhere."""
    first = compiled(lines(a=naming("b"), b=naming("a")))
    second = compiled(lines(a=naming("b"), b=defined(included=["u"])), first)
    assert second["a"].holds({"targetingKey": "u"}, 0)


def test_unusable_names_places() -> None:
    """One problem for each that names a broken segment; unknown ones are validation's."""
    segments = compiled({"a": defined(when=leaf("x", "eqals", 1)), "b": defined()})
    places = [(("rules", 0), "a"), (("rules", 1), "b"), (("rules", 2), "gone")]
    assert [p.pointer for p in unusable(places, segments)] == ["/rules/0"]


def test_errors_are_what_is_not_a_warning() -> None:
    """Only those keep a thing from being used."""
    problems = check_flag(authored("a b", type="object", variants={"off": []}), {})
    assert len(problems) == 2
    assert [problem.code for problem in errors(problems)] == ["invalid_key"]


def test_a_repr_is_short() -> None:
    """Unit lists may be long, and personal."""
    assert (
        repr(compiled({"a": defined(included=["u-1"])})["a"])
        == "<CompiledSegment 'a': no problems>"
    )


def test_who_named_a_circle_misses_what_is_removed_of_it() -> None:
    """What is told of it is not what was wrong before, though its own line is the same."""
    circle = compiled(lines(a=naming("b"), b=naming("a"), c=naming("a")))
    assert {segment.problems[0].code for segment in circle.values()} == {"segment_cycle"}
    left = compiled(lines(b=naming("a"), c=naming("a")), circle)
    assert [left[key].problems[0].code for key in "bc"] == ["unknown_segment"] * 2


def test_an_unchanged_circle_is_taken_over() -> None:
    """So what names it is taken over, too."""
    first = compiled(lines(a=naming("b"), b=naming("a"), c=naming("a")))
    again = compiled(lines(a=naming("b"), b=naming("a"), c=naming("a")), first)
    assert all(again[key] is first[key] for key in first)

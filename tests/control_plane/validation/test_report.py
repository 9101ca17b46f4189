"""What is printed: one line each, whatever the files say."""

import json

from control_plane.validation.notes import MAX_KEPT
from control_plane.validation.project import check_files
from control_plane.validation.report import FORMATS, findings, summary
from tests.control_plane.validation.builders import SIMPLE, found, full, text_of

NASTY = "\n::error::\x1b[31m\u202e%,:"


def nasty() -> bytes:
    """Return a file whose names try to get out of their line."""
    return json.dumps({"flags": [SIMPLE | {NASTY: 1, "key": 1}]}).encode()


def test_text_is_a_line_for_each() -> None:
    """Place, severity, message, code, pointer, hint."""
    data = json.dumps({"flags": [full(off_variant="of", enabl=True)]}, indent=1).encode()
    assert list(FORMATS["text"](found(data))) == [
        "0:15:21: error: the flag has no variant 'of' [unknown_variant]"
        " /flags/0/environments/production/off_variant (did you mean 'off'?)",
        "0:16:6: error: the member 'enabl' is unknown [unknown_field]"
        " /flags/0/environments/production/enabl (did you mean 'enabled'?)",
    ]


def test_github_is_a_command_for_each() -> None:
    """With properties that end where they should."""
    found_ = findings(check_files([("a,b:c%.json", b"{}")]))
    (line,) = FORMATS["github"](found_)
    head = "::error title=matrixflag (not_one_of),file=a%2Cb%3Ac%25.json,line=1,col=1::"
    assert line.startswith(head + "a,b:c%25.json:1:1: error: these are")


def test_json_is_a_list_of_objects() -> None:
    """The same members whatever was found, and a list where nothing was."""
    assert list(FORMATS["json"]([])) == ["[]"]
    rows = json.loads("\n".join(FORMATS["json"](found(nasty()))))
    members = {"file", "line", "column", "pointer", "code", "severity", "message", "hint"}
    assert {frozenset(row) for row in rows} == {frozenset(members)}
    assert f"/flags/0/{NASTY}" in {row["pointer"] for row in rows}


def test_nothing_gets_out_of_its_line() -> None:
    """No newline, no escape sequence, nothing that turns text around."""
    problems = findings(check_files([(f"x{NASTY}", nasty())]))
    assert len(problems) == 2
    for name in ("text", "github"):
        lines = list(FORMATS[name](problems))
        assert len(lines) == 2
        assert all(line.isprintable() for line in lines)
    assert "\\n::error::\\x1b[31m\\u202e" in next(FORMATS["text"](problems[1:]))


def test_what_is_quoted_is_cut() -> None:
    """A name of a megabyte makes a short line."""
    long = "x" * 1_000_000
    data = text_of([SIMPLE | {long: 1}, full(rules=[{"when": {"segment": long}, "serve": {}}])])
    assert all(len(line) < 2_000 for line in FORMATS["text"](found(data)))


def test_problems_are_in_the_order_of_the_text() -> None:
    """Whatever found them."""
    flags = [full(off_variant="of"), {"key": 1}, full("c", off_variant="of")]
    data = json.dumps({"flags": flags}, indent=1).encode()
    lines = [each.line for each in found(data)]
    assert lines == sorted(lines)
    assert len(lines) == 3


def test_many_are_counted_and_some_told() -> None:
    """Errors do not go missing behind warnings."""
    listed = {"key": "a", "type": "object", "variants": {f"v{n}": [] for n in range(900)}}
    flags = [listed | {"key": f"f{n}", "environments": {}} for n in range(3)]
    (file,) = checked = check_files([("x", text_of([*flags, {"key": "z"}]))])
    problems = findings(checked)
    assert [each.severity for each in problems].count("warning") == MAX_KEPT
    assert [each.severity for each in problems].count("error") == 2
    assert summary(checked, len(problems), 1) == (
        "2 errors and 2700 warnings in 1 file with 4 flags and 0 segments; "
        "the first 1002 are shown; 1 file could not be read."
    )
    assert file.name == "x"


def test_the_summary_says_how_much_was_looked_at() -> None:
    """So that a check of nothing does not look like a success."""
    checked = check_files([("x", text_of([SIMPLE], [{"key": "s"}])), ("y", b'{"flags": []}')])
    assert summary(checked, 0, 0) == "No problems in 2 files with 1 flag and 1 segment."

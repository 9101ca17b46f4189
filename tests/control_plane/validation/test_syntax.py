"""Text that is no JSON: where, and in the words of who wrote it."""

import pytest

from tests.control_plane.validation.builders import found


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ('{"flags": [\n {"a": 1,}]}', (2, 10), "take the comma before it out"),
        ('{"flags": [1,\n]}', (2, 1), "take the comma before it out"),
        ('{"flags": [] // none\n}', (1, 14), "JSON has no comments"),
        ("# none\n{}", (1, 1), "JSON has no comments"),
        ("{'flags': []}", (1, 2), "double quotes"),
        ('{"flags": [NaN]}', (1, 12), "no NaN"),
        ('{"flags": [True]}', (1, 12), "small letters"),
        ('{"flags": ["a\nb"]}', (1, 14), "a quote is missing"),
        ('{"flags": []}\n}', (2, 1), "the document has ended"),
        ('{"flags":\n  [{"a": [1]', (2, 13), "the '{' at line 2, column 4 is not closed"),
        ('{"flags": ["a]}', (1, 12), "a text begins here and does not end"),
        ('{"flags": ["a\\"]}', (1, 12), "a text begins here and does not end"),
        ('{"flags": "\\ud800"}', (1, 12), "half of a character"),
        ('{"flags": "\\\\\\ud800x"}', (1, 14), "half of a character"),
        ('{"flags": "\\x"}', (1, 13), "escape"),
        ('{"flags": 01}', (1, 12), "number"),
    ],
)
def test_a_mistake_has_its_place_and_its_reason(
    text: str, place: tuple[int, int], said: str
) -> None:
    """The usual ones."""
    (problem,) = found(text.encode())
    assert problem.code == "malformed_json"
    assert (problem.line, problem.column) == place
    assert said in f"{problem.message} {problem.hint}"

"""What entries say, and which filters can find any."""

import re

import pytest

from control_plane.audit.model import ACTIONS, filter_problem
from tests.support.reference import DOCS, ROOT

_KINDS = {action.partition(".")[0] for action in ACTIONS}
_NAME = re.compile(r'"([a-z]+(?:\.[a-z]+)+)"')


def test_all_actions_of_the_code_are_known_and_documented() -> None:
    """Who adds one adds it to `ACTIONS` and to docs/audit.md; else nobody could ask for it."""
    written = {
        name
        for path in (ROOT / "control_plane").rglob("*.py")
        if path.name != "model.py" or path.parent.name != "audit"
        for name in _NAME.findall(path.read_text())
        if name.partition(".")[0] in _KINDS
    }
    assert written == set(ACTIONS)
    text = (DOCS / "audit.md").read_text()
    documented: list[str] = []
    for row in re.findall(r"^\| `([a-z]+\.)` \| (.*?) \|", text, re.M):
        documented += [row[0] + each for each in re.findall(r"`([a-z.]+)`", row[1])]
    assert sorted(documented) == sorted(ACTIONS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("action", action) for action in (*ACTIONS, "flag.", "segment.units.")),
        *(("actor", word) for word in ("admin", "dev", "system", "sso", "anonymous")),
        ("actor", "key:1f2e"),
        ("actor", "user:ada@example.com"),
        ("actor", "service:1f2e"),
        ("target", "flag:team/check.out"),
        ("target", "factor:totp"),
        ("target", "session:1"),
        ("target", "person:bob@example.com"),
    ],
)
def test_what_an_entry_can_have_is_asked_for(name: str, text: str) -> None:
    """Whether or not there is one."""
    assert filter_problem(name, text) == ""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("action", "flag.pach", "did you mean flag.patch?"),
        ("action", "flags.", "did you mean flag.?"),
        ("action", "Flag.Patch", "did you mean flag.patch?"),
        ("action", "flag", "did you mean flag.?"),
        ("action", "", "docs/audit.md"),
        ("action", "flag.patch.", "did you mean flag.patch?"),
        ("actor", "Admin", "admin, anonymous"),
        ("actor", "ada@example.com", "user:..."),
        ("actor", "user:", "user:..."),
        ("actor", "flag:f", "user:..."),
        ("target", "checkout", "flag:..."),
        ("target", "flags:checkout", "flag:..."),
        ("target", "admin", "flag:..."),
        ("target", "flag:", "flag:..."),
    ],
)
def test_what_no_entry_can_have_is_told_with_what_there_is(name: str, text: str, said: str) -> None:
    """An empty list would say that it was never done."""
    assert said in filter_problem(name, text)


def test_what_is_repeated_is_short_and_printable() -> None:
    """It comes from a URL."""
    said = filter_problem("action", "\n\x1b" * 1000)
    assert said.isprintable()
    assert len(said) < 400

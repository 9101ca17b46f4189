"""A file of flagd as the source: recognised, served by its rules, watched, each flag by itself."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.contract.codes import ErrorCode
from proxy.engine import evaluate
from proxy.sync.flagd_file import read_flagd
from tests.proxy.sync.test_file import Sidecar, running

FLAG: dict[str, Any] = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": {"if": [{"$ref": "german"}, "on"]},
}
GERMAN = {"german": {"==": [{"var": "country"}, "DE"]}}
FILE = {"flags": {"a": FLAG}, "$evaluators": GERMAN}
YAML = """
flags:
  a:
    state: ENABLED
    variants: {on: true, off: false}
    defaultVariant: on
"""


def answer(sidecar: Sidecar, key: str = "a", **context: Any) -> Any:
    """Return what a flag answers."""
    assert sidecar.holder.served is not None
    return evaluate(sidecar.holder.served.compiled, key, context, 0)


async def test_a_file_of_flagd_is_served_and_watched(tmp_path: Path) -> None:
    """By its rules; a change is served without a restart, a bad one leaves the last good."""
    path = tmp_path / "flags.flagd.json"
    path.write_text(json.dumps(FILE))
    async with running(path) as sidecar:
        await sidecar.swapped()
        assert answer(sidecar, country="DE").value is True
        assert answer(sidecar, country="FR").value is False
        path.write_text('{"flags": {}, "flags": {}}')
        await sidecar.until(lambda: sidecar.status.problems)
        assert answer(sidecar, country="DE").value is True
        path.write_text(json.dumps({**FILE, "flags": {"a": {**FLAG, "state": "DISABLED"}}}))
        await sidecar.until(lambda: answer(sidecar, country="DE").value is not True)


@pytest.mark.parametrize("name", ["flags.yaml", "flags.flagd.YML"])
async def test_yaml_is_served_too(tmp_path: Path, name: str) -> None:
    """Of flagd, and of our own form."""
    path = tmp_path / name
    path.write_text(YAML)
    async with running(path) as sidecar:
        await sidecar.swapped()
        assert answer(sidecar).value is True
        path.write_text("flags:\n- {key: a, type: string, value: ours, enabled: true}\n")
        await sidecar.swapped()
        assert answer(sidecar).value == "ours"
        path.write_text("flags: [")
        await sidecar.until(lambda: sidecar.status.problems)
        assert answer(sidecar).value == "ours"


async def test_a_bad_flag_fails_alone(tmp_path: Path) -> None:
    """With a parse error; it is not unknown."""
    path = tmp_path / "flags.json"
    bad = {"state": "ENABLED", "variants": {"on": True, "n": 1}, "defaultVariant": "on"}
    path.write_text(json.dumps({**FILE, "flags": {"a": FLAG, "b": bad, "c": 1}}))
    async with running(path) as sidecar:
        await sidecar.swapped()
        assert answer(sidecar, country="DE").value is True
        for key in ("b", "c"):
            assert json.loads(answer(sidecar, key).body)["errorCode"] == ErrorCode.PARSE_ERROR
        assert {p.pointer.split("/")[2] for p in sidecar.status.problems} == {"b", "c"}


TEXT = """{"flags": {
  "a": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"},
  "twice": {"state": "ENABLED", "state": "DISABLED"},
  "nan": {"state": "ENABLED", "variants": {"on": NaN}},
  "large": {"state": "ENABLED", "variants": {"on": 1e400}},
  "again": {}, "again": {},
  "asks": {"state": "ENABLED", "variants": {"on": true}, "targeting": {"$ref": "e"}}
}, "$evaluators": {"e": {"==": [1], "==": [2]}, "unused": {"==": [1, 1e999]}}}
"""


async def test_a_mistake_in_the_text_of_a_flag_costs_that_flag(tmp_path: Path) -> None:
    """It fails with what is wrong and the line; the others are served."""
    path = tmp_path / "flags.json"
    path.write_text(TEXT)
    async with running(path) as sidecar:
        await sidecar.swapped()
        assert answer(sidecar).value is True
        for key, where, line in (
            *(("twice", "/flags/twice/state", 3), ("nan", "/flags/nan/variants/on", 4)),
            *(("large", "/flags/large/variants/on", 5), ("again", "/flags/again", 6)),
            ("asks", "/$evaluators/e/==", 8),
        ):
            body = json.loads(answer(sidecar, key).body)
            assert body["errorCode"] == ErrorCode.PARSE_ERROR
            (problem,) = [p for p in sidecar.status.problems if p.pointer == where]
            assert problem.message.endswith(f", at line {line}")


async def test_a_mistake_of_yaml_costs_the_flag_it_is_in(tmp_path: Path) -> None:
    """In our own form, too."""
    path = tmp_path / "flags.yaml"
    path.write_text(YAML + "  b: {state: ENABLED, state: 010}\n")
    async with running(path) as sidecar:
        await sidecar.swapped()
        assert answer(sidecar).value is True
        assert json.loads(answer(sidecar, "b").body)["errorCode"] == ErrorCode.PARSE_ERROR
        own = "flags:\n- {key: a, type: string, value: ours, enabled: true}\n"
        path.write_text(own + "- {key: b, type: string, type: string, value: x}\n")
        await sidecar.swapped()
        assert answer(sidecar).value == "ours"
        assert json.loads(answer(sidecar, "b").body)["errorCode"] == ErrorCode.PARSE_ERROR
        (problem,) = sidecar.status.problems
        assert problem.message == "the key 'type' at line 3 is at line 3 already"


LD = {"on": True, "variations": [1, 2], "fallthrough": {"variation": 0}, "salt": "s"}
GOFF = {"variations": {"a": 1}, "defaultRule": {"variation": "a"}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            json.dumps({"flags": {"x": LD, "y": LD}}),
            "this looks like a LaunchDarkly file; import it with `matrixflag import launchdarkly`",
        ),
        (json.dumps({"x": GOFF}), "this looks like a GO Feature Flag file; import it with `ma"),
        (json.dumps({"features": {}}), "this looks like a GrowthBook file; import it with `ma"),
        (
            json.dumps({"features": [{"name": "x"}], "segments": []}),
            "this looks like an Unleash file; import it with `matrixflag import unleash`",
        ),
        ('{"flags": {"x": {"state": 1}, "y": {"z": NaN}}}', "no flag of this file can be served"),
        ('{"flags": {"x": 1, "x": 1}}', "no flag of this file can be served"),
        ('{"$schema": "x",\n "flags": {"a": {', "this ends too early, at line 2, column "),
        ('{"flags": {}, "flags": {}}', "/flags: the member 'flags' is given twice, at line 1"),
        ('{"flags": {}, "metadata": {"x": NaN}}', "/metadata/x: JSON has no NaN and no Infinity"),
    ],
)
async def test_a_file_of_which_nothing_can_be_served_leaves_the_last_good(
    tmp_path: Path, text: str, why: str
) -> None:
    """Another system's, cut off, or every flag of it bad: it says so, in a sentence."""
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(FILE))
    async with running(path) as sidecar:
        await sidecar.swapped()
        path.write_text(text)
        await sidecar.until(lambda: sidecar.status.problems)
        assert answer(sidecar, country="DE").value is True
        assert why in str(sidecar.status.last_error)


def test_the_layout_of_a_file_makes_no_difference() -> None:
    """Nothing is swapped for it; another version of `fractional` is another definition."""
    two = {**FILE, "flags": {"b": FLAG, "a": FLAG}}
    again = json.loads(json.dumps(two, indent=3, sort_keys=True))
    first = read_flagd(two, "production", "v2")
    assert read_flagd(again, "production", "v2").lines == first.lines
    assert read_flagd(again, "production", "v2").digest == first.digest
    assert read_flagd(two, "production", "v1").digest != first.digest


def test_no_sidecar_pays_for_it_that_has_no_such_file() -> None:
    """Neither the parser of YAML nor flagd's translator are imported with the source."""
    code = (
        "import sys, proxy.sync.file, proxy.app;"
        "bad = [m for m in sys.modules if m == 'yaml' or 'flagd' in m or m.endswith('jsonlogic')];"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""`matrixflag evaluate`: answers, explanations, expectations, and everything that can be wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from proxy.contract.units import digest_of, hash_unit, split
from tests.support.snapshots import definition, make_snapshot

ROLLOUT = {"arms": [{"variant": "on", "weight": 25_000}, {"variant": "off", "weight": 75_000}]}


def flag(key: str, **config: Any) -> dict[str, Any]:
    """Return a flag as an author writes it."""
    production = {"enabled": True, "fallthrough": {"variant": "off"}, "salt": "f3b1", **config}
    return {
        "key": key,
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "environments": {"production": production},
    }


GERMANS = {
    "id": "germans",
    "when": {"segment": "germans"},
    "serve": {"variant": "on"},
}
DEFINITIONS = {
    "segments": [
        {"key": "germans", "when": {"attribute": "country", "op": "equals", "values": ["DE"]}}
    ],
    "flags": [
        {"key": "banner", "type": "string", "value": "hello", "enabled": True},
        {"key": "limit", "type": "number", "value": 10, "enabled": True},
        {"key": "config", "type": "object", "value": {"a": [1, True]}, "enabled": True},
        flag("checkout", rules=[GERMANS]),
        flag("split", fallthrough={"rollout": ROLLOUT}),
        flag("bad", fallthrough={"variant": "none"}),
        flag("off", enabled=False),
    ],
}


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    """A file of definitions."""
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(DEFINITIONS))
    return path


class Run:
    """The command on one file, in this process."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys

    def __call__(self, key: str, *arguments: str) -> tuple[int, str, str]:
        """Return status, stdout and stderr."""
        status = main(["evaluate", "--snapshot", str(self.path), "--flag", key, *arguments])
        return status, *self._capsys.readouterr()


@pytest.fixture
def evaluate(definitions: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command on the file of definitions."""
    return Run(definitions, capsys)


def test_it_prints_what_is_answered_for_people(evaluate: Run) -> None:
    """A few lines, and nothing on stderr."""
    assert evaluate("checkout", "--context", '{"country":"DE"}') == (
        0,
        "checkout\n  value    true\n  variant  on\n  reason   TARGETING_MATCH\n"
        '  because  rule germans matched\n  metadata {"ruleId": "germans"}\n',
        "",
    )


def test_json_is_the_answer_over_ofrep(evaluate: Run) -> None:
    """Byte for byte, on one line."""
    assert evaluate("limit", "--format", "json") == (
        0,
        '{"key":"limit","value":10.0,"variant":"default","reason":"STATIC"}\n',
        "",
    )


def test_it_explains_as_text_and_as_json(evaluate: Run) -> None:
    """The same tree."""
    status, text, _ = evaluate("checkout", "--explain")
    assert status == 0
    assert "✗ rule germans: not in the segment germans" in text
    status, text, _ = evaluate("checkout", "--explain", "--format", "json")
    assert status == 0
    made = json.loads(text)
    assert made["because"] == "no rule matched, so the fallthrough is served"
    assert made["result"]["value"] is False


def test_the_context_comes_from_a_file_or_stdin(evaluate: Run, tmp_path: Path) -> None:
    """`@FILE`, and `-`."""
    (tmp_path / "context.json").write_text('{"country":"DE"}')
    arguments = ("--context", f"@{tmp_path / 'context.json'}", "--expect", "true")
    assert evaluate("checkout", *arguments)[0] == 0
    command = [sys.executable, "-m", "proxy", "evaluate", "--snapshot", str(evaluate.path)]
    command += ["--flag", "checkout", "--context", "-", "--expect", "true"]
    for sent, status in (('{"country":"DE"}', 0), ('{"country":"FR"}', 1), ("{", 2)):
        done = subprocess.run(command, input=sent, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr


@pytest.mark.parametrize(
    ("key", "arguments", "status"),
    [
        ("banner", ("--expect", '"hello"'), 0),
        ("banner", ("--expect", '"hullo"'), 1),
        ("limit", ("--expect", "10"), 0),
        ("limit", ("--expect", "10.5"), 1),
        ("limit", ("--expect", "true"), 1),
        ("config", ("--expect", '{"a":[1,true]}'), 0),
        ("config", ("--expect", '{"a":[1,1]}'), 1),
        ("config", ("--expect", '{"a":[1]}'), 1),
        ("checkout", ("--expect", "false"), 0),
        ("checkout", ("--expect", "0"), 1),
        ("checkout", ("--expect-variant", "off"), 0),
        ("checkout", ("--expect-variant", "on"), 1),
        ("off", ("--expect-variant", ""), 0),
        ("off", ("--expect", "null"), 1),
        ("split", ("--context", '{"targetingKey":"u-1"}', "--expect-variant", "off"), 0),
        ("split", ("--expect-variant", "off"), 1),
    ],
)
def test_what_is_not_as_expected_is_status_1(
    evaluate: Run, key: str, arguments: tuple[str, ...], status: int
) -> None:
    """And stderr says what was expected; booleans are not numbers, 10 is 10.0."""
    got, out, err = evaluate(key, *arguments)
    assert got == status
    assert out.startswith(key)
    assert bool(err) == (status == 1 and key != "split"), err


def test_it_says_what_was_expected(evaluate: Run) -> None:
    """Both values, and the flag."""
    err = evaluate("banner", "--expect", '"x"')[2]
    expected = 'matrixflag evaluate: banner: the value "x" is expected, and it is "hello"\n'
    assert err == expected


def test_the_time_can_be_another(evaluate: Run) -> None:
    """Windows and ramps are tried before they begin."""
    window = {**GERMANS, "active": {"from": "2030-01-01T00:00:00Z"}}
    evaluate.path.write_text(json.dumps({**DEFINITIONS, "flags": [flag("f", rules=[window])]}))
    for at, expected in (("2029-12-31T23:59:59Z", "off"), ("2030-01-01T01:00:00+01:00", "on")):
        arguments = ("--context", '{"country":"DE"}', "--at", at, "--expect-variant", expected)
        assert evaluate("f", *arguments)[0] == 0, at


def test_the_environment_can_be_another(evaluate: Run) -> None:
    """A flag that has nothing for it is disabled there: said, and no success unless expected."""
    status, out, err = evaluate("checkout", "--environment", "staging")
    assert (status, err) == (1, "")
    assert "reason   DISABLED" in out
    because = "not configured for 'staging', so it is disabled here (configured for: production)"
    assert f"because  {because}\n" in out
    status, out, _ = evaluate("checkout", "--environment", "staging", "--explain")
    assert status == 1
    assert because in out
    assert evaluate("checkout", "--environment", "staging", "--expect-variant", "")[0] == 0


def test_a_variant_that_is_expected_and_is_none_is_told(evaluate: Run) -> None:
    """With those there are."""
    status, _, err = evaluate("checkout", "--expect-variant", "onn")
    assert status == 1
    assert err.endswith('and it is "off"; the flag has no such variant, it has off, on\n')


class TestSeveralFiles:
    """Files of definitions given together are one project, as for `validate`."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        """A flag and the segment it names in files of their own, and others."""
        segment, *_ = DEFINITIONS["segments"]
        read = {"version": 1, "created_at": "2026-12-01T00:00:00Z", "updated_at": "x"}
        files = {
            "segment.json": segment | read,
            "flag.json": flag("checkout", rules=[GERMANS]) | read,
            "others.json": {"flags": [flag("other"), flag("bad", fallthrough={"variant": "no"})]},
        }
        for name, content in files.items():
            (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    def test_a_flag_and_its_segment_are_read_together(
        self, directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """In one option or in several; a file that is named twice is read once."""
        names = [str(directory / name) for name in ("flag.json", "others.json", "segment.json")]
        wanted = ["--flag", "checkout", "--context", '{"country":"DE"}', "--expect", "true"]
        assert main(["evaluate", "--snapshot", *names, names[0], *wanted]) == 0
        each = [part for name in names for part in ("--snapshot", name)]
        assert main(["evaluate", *each, *wanted]) == 0
        assert main(["evaluate", "--snapshot", names[0], *wanted]) == 1
        assert "there is no segment 'germans'" in capsys.readouterr().err

    def test_places_are_those_of_the_files(
        self, directory: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Of a flag that is broken, of one that is given twice, and of a file that is none."""
        flag_file, others = str(directory / "flag.json"), str(directory / "others.json")
        files = ["evaluate", "--snapshot", flag_file, others]
        assert main([*files, "--flag", "bad"]) == 1
        place = f"{others}: /flags/1/environments/production/fallthrough/variant:"
        assert place in capsys.readouterr().err
        again = directory / "again.json"
        again.write_text(json.dumps(flag("other")))
        assert main([*files, str(again), "--flag", "other"]) == 1
        err = capsys.readouterr().err
        assert f"{again}: /key: the key 'other' is at {others}: /flags/0 too" in err
        again.write_text('{"flags": [')
        assert main([*files, str(again), "--flag", "other"]) == 2
        assert f"{again}: cannot be read as definitions" in capsys.readouterr().err
        again.write_bytes(make_snapshot({"a": True})[1])
        assert main([*files, str(again), "--flag", "other"]) == 2
        assert "a snapshot stands by itself" in capsys.readouterr().err


def test_a_broken_flag_says_its_problems_with_places_in_the_file(evaluate: Run) -> None:
    """Status 1: it answers an error."""
    status, out, err = evaluate("bad")
    assert status == 1
    assert "error    PARSE_ERROR" in out
    where = "/flags/5/environments/production/fallthrough/variant"
    assert err == f"  {where}: the flag has no variant 'none' [unknown_variant]\n"


def test_a_flag_that_cannot_be_decoded_says_who_knows_more(evaluate: Run) -> None:
    """One mistake of shape is all that is found here."""
    broken = {**flag("shape"), "owners": ["a"]}
    evaluate.path.write_text(json.dumps({"flags": [broken]}))
    status, _, err = evaluate("shape")
    assert status == 1
    assert "/flags/0/owners: the member 'owners' is unknown" in err
    assert "`matrixflag validate` says all there is" in err


def test_a_flag_that_is_broken_by_its_segment_says_where(evaluate: Run) -> None:
    """The place is in the segment."""
    segment = {"key": "germans", "when": {"attribute": "a", "op": "nonsense"}}
    evaluate.path.write_text(json.dumps({**DEFINITIONS, "segments": [segment]}))
    status, _, err = evaluate("checkout")
    assert status == 1
    assert "/segments/0/when/op" in err


def test_an_unknown_flag_says_which_may_be_meant(evaluate: Run) -> None:
    """Status 1, as the answer is an error."""
    status, out, err = evaluate("chekout")
    assert status == 1
    assert "FLAG_NOT_FOUND" in out
    assert err.endswith("there is no flag 'chekout' among the 7 here; did you mean checkout?\n")


def test_a_snapshot_is_read_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As sidecars are sent it; it is of one environment."""
    path = tmp_path / "snapshot.ndjson"
    path.write_bytes(make_snapshot({"a": True})[1])
    run = Run(path, capsys)
    assert run("a", "--expect", "true")[0] == 0
    assert run("a", "--environment", "production")[0] == 0
    status, _, err = run("a", "--environment", "staging")
    assert (status, err) == (
        2,
        "matrixflag evaluate: the snapshot is of 'production', not of 'staging'\n",
    )
    path.write_bytes(make_snapshot({"a": True})[1][:-9])
    status, _, err = run("a")
    assert status == 2
    assert "malformed" in err


LONG = [digest_of(blob) for blob in split(hash_unit(f"u-{n}") or b"" for n in range(3_000))]


def test_of_long_lists_in_a_snapshot_it_says_that_they_are_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where another flag is asked, which would only seem to be off; nothing is as expected."""

    def ruled(segment: str, **members: Any) -> dict[str, Any]:
        rule = {"id": "r", "when": {"segment": segment}, "serve": {"variant": "on"}}
        return definition(False) | {"rules": [rule]} | members

    asks = {"prerequisites": [{"flag": "direct", "variants": ["on"]}], "off_variant": "off"}
    flags = {
        "plain": True,
        "short": ruled("few"),
        "direct": ruled("many"),
        "through": ruled("outer"),
        "asks/it": ruled("few", **asks),
        "off": ruled("few", **asks, enabled=False),
    }
    segments: Any = {
        ("segment", "few"): {"included": ["u-1"]},
        ("segment", "many"): {"units": {"included": {"count": 3_000, "blobs": LONG}}},
        ("segment", "outer"): {"when": {"any": [{"segment": "many"}, {"segment": "few"}]}},
    }
    path = tmp_path / "snapshot.ndjson"
    path.write_bytes(make_snapshot(flags, more=segments)[1])
    run = Run(path, capsys)
    context = ("--context", '{"targetingKey": "u-1"}')
    for key in ("direct", "through", "asks/it"):
        for expected in ((), ("--expect", "false"), ("--expect", "true")):
            status, _, err = run(key, *context, *expected)
            assert status == 1
            assert f"what '{key}' answers cannot be known from this file" in err
            assert "long lists of units of the segment 'many', and does not have the units" in err
            assert f"POST /api/v1/evaluate/{key}, or a sidecar, POST /explain/{key}" in err
    for key in ("plain", "short", "off"):
        status, _, err = run(key, *context)
        assert (status, err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--context", "{"), "--context: the context is not JSON"),
        (("--context", "[]"), "--context: the context is an array, not an object"),
        (("--context", "@/not/there"), "/not/there: No such file"),
        (("--at", "tomorrow"), "--at: 'tomorrow' is no date and time"),
        (("--expect", "on"), "--expect: 'on' is not JSON; a string is written '\"on\"'"),
    ],
)
def test_arguments_that_make_no_sense_are_status_2(
    evaluate: Run, arguments: tuple[str, ...], said: str
) -> None:
    """Which is told apart from a wrong answer."""
    status, out, err = evaluate("banner", *arguments)
    assert (status, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"", "cannot be read as definitions"),
        (b"{", "[malformed_json]"),
        (b"[]", "cannot be read as definitions"),
        (b'{"flags":[]', "cannot be read as definitions"),
        (b"\xff\xfe", "is UTF-16"),
    ],
)
def test_a_file_that_cannot_be_read_is_status_2(
    evaluate: Run, content: bytes | None, said: str
) -> None:
    """It names the file."""
    evaluate.path.unlink()
    if content is not None:
        evaluate.path.write_bytes(content)
    status, out, err = evaluate("banner")
    assert (status, out) == (2, "")
    assert str(evaluate.path) in err
    assert said in err


def test_a_directory_is_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Status 2."""
    assert Run(tmp_path, capsys)("a")[0] == 2


def test_a_terminal_without_the_characters_gets_them_escaped(evaluate: Run) -> None:
    """And no traceback."""
    command = [sys.executable, "-m", "proxy", "evaluate", "--snapshot", str(evaluate.path)]
    environ = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    done = subprocess.run(
        [*command, "--flag", "banner", "--explain"],
        capture_output=True,
        env=environ,
        cwd=Path(__file__).parent.parent.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert rb"\u25b6 fallthrough" in done.stdout


FLAGD = """
flags:
  banner:
    state: ENABLED
    variants: {on: true, off: false}
    defaultVariant: on
    targeting: {if: [{==: [{var: country}, DE]}, off]}
  bad: {state: ENABLED, variants: {on: 1, on: 2}}
"""
FLAGD_JSON = """{"$schema": "x", "flags": {
  "banner": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on",
    "targeting": {"if": [{"==": [{"var": "country"}, "DE"]}, "off"]}},
  "bad": {"state": "ENABLED", "variants": {"on": 1, "on": 2}}}}
"""


@pytest.mark.parametrize(("name", "text"), [("f.yaml", FLAGD), ("flags.flagd.json", FLAGD_JSON)])
def test_a_file_of_flagd_is_evaluated_as_a_sidecar_serves_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    """JSON and YAML, and of a bad flag it is said what is wrong and where."""
    path = tmp_path / name
    path.write_text(text)
    run = Run(path, capsys)
    assert run("banner", "--context", '{"country":"DE"}', "--expect", "false")[0] == 0
    status, out, _ = run("banner", "--explain")
    assert (status, "value    true" in out) == (0, True)
    status, out, err = run("bad")
    assert (status, "PARSE_ERROR" in out) == (1, True)
    assert "/flags/bad/variants/on: the " in err
    assert "at line" in err


def test_flagds_fractional_splits_as_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the argument, or by the setting that the sidecar has."""
    split = {"fractional": [{"var": "user"}, ["a", 50], ["b", 50]]}
    variants = {"a": "a", "b": "b"}
    flag = {"state": "ENABLED", "variants": variants, "defaultVariant": "a", "targeting": split}
    path = tmp_path / "flags.json"
    path.write_text(json.dumps({"flags": {"split": flag}}))
    run = Run(path, capsys)

    def answers(*arguments: str) -> list[str]:
        contexts = [json.dumps({"user": f"u{n}"}) for n in range(30)]
        return [run("split", "--context", each, *arguments)[1] for each in contexts]

    v1, v2 = answers("--flagd-fractional", "v1"), answers()
    assert v1 != v2
    monkeypatch.setenv("MATRIXFLAG_FLAGD_FRACTIONAL", "v1")
    assert answers() == v1
    monkeypatch.setenv("MATRIXFLAG_FLAGD_FRACTIONAL", "v9")
    assert run("split") == (
        *(2, ""),
        "matrixflag evaluate: MATRIXFLAG_FLAGD_FRACTIONAL: 'v9' is none of v1, v2 and v3\n",
    )


GOFF = "x: {variations: {a: 1}, defaultRule: {variation: a}}"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("f.yaml", GOFF, "this looks like a GO Feature Flag file; import it with `matrixflag imp"),
        ("f.json", '{"$schema": "x",\n"flags": {"a": {', "this ends too early, at line 2"),
        ("f.yaml", "flags: {", "it is no YAML: "),
        ("f.json", '{"flags": {"a": 1}}', "no flag of this file can be served"),
    ],
)
def test_a_file_that_no_sidecar_serves_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, why: str
) -> None:
    """In the words of the sidecar."""
    path = tmp_path / name
    path.write_text(text)
    status, out, err = Run(path, capsys)("a")
    assert (status, out) == (2, "")
    assert why in err


def test_a_file_of_flagd_stands_by_itself(
    definitions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its flags are asked by none of ours."""
    (tmp_path / "f.yaml").write_text(FLAGD)
    files = ["--snapshot", str(definitions), str(tmp_path / "f.yaml")]
    assert main(["evaluate", *files, "--flag", "banner"]) == 2
    assert "a file of flagd stands by itself" in capsys.readouterr().err


def test_a_mistake_in_the_text_of_a_flag_costs_that_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of our own form, in several files, in YAML, and in a file of one flag."""
    good = '{"key": "%s", "type": "boolean", "value": true}'
    (tmp_path / "a.json").write_text(
        f'{{"flags": [{good % "a"}, {(good % "b")[:-1]}, "x": NaN}}]}}'
    )
    (tmp_path / "b.yaml").write_text(
        "flags:\n- {key: c, type: string, value: v}\n- {key: d, type: string, value: 010}\n"
    )
    (tmp_path / "c.json").write_text((good % "e")[:-1] + ', "value": false}')
    files = ["--snapshot", *(str(tmp_path / name) for name in ("a.json", "b.yaml", "c.json"))]
    for key, status, why in (
        *(("a", 0, ""), ("c", 0, "")),
        ("b", 1, "a.json: /flags/1/x: JSON has no NaN and no Infinity"),
        ("d", 1, "b.yaml: /flags/1/value: 010 at line 3 is read in several ways"),
        ("e", 1, "c.json: /value: the member 'value' is given twice"),
    ):
        assert main(["evaluate", *files, "--flag", key]) == status
        assert why in capsys.readouterr().err

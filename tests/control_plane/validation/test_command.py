"""`matrixflag validate`, in a process of its own: what it prints where, and its exit status."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane.validation import command

GOOD = {"flags": [{"key": "a", "type": "boolean", "value": True}]}
BAD = {"flags": [{"key": "a", "type": "boolean", "value": 1}]}
LISTED = {"flags": [{"key": "a", "type": "object", "value": []}]}


def validate(
    directory: Path, *arguments: str, stdin: bytes = b"", **files: object
) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a directory with these files, `name` for `name.json`."""
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return subprocess.run(
        [sys.executable, "-m", "proxy", "validate", *arguments],
        cwd=directory,
        input=stdin,
        env={"PYTHONPATH": str(Path(command.__file__).parents[2]), "LC_ALL": "C"},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("content", "arguments", "status"),
    [(GOOD, (), 0), (BAD, (), 1), (LISTED, (), 0), (LISTED, ("--strict",), 1)],
)
def test_the_status_says_whether_something_is_wrong(
    content: object, arguments: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    """Warnings count when that is asked for."""
    done = validate(tmp_path, *arguments, "x.json", x=content)
    assert (done.returncode, done.stderr) == (status, b"")


def test_standard_input_is_a_file() -> None:
    """Also beside others."""
    done = validate(Path.cwd(), "-", stdin=json.dumps(BAD).encode())
    assert done.returncode == 1
    assert done.stdout.startswith(b"<stdin>:1:53: error: ")


@pytest.mark.parametrize("arguments", [(), ("--format", "xml", "x.json"), ("--stric", "x.json")])
def test_a_wrong_use_is_another_status(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """So that a script does not take a typing mistake for a bad flag."""
    done = validate(tmp_path, *arguments, x=GOOD)
    assert (done.returncode, done.stdout) == (2, b"")


def test_what_cannot_be_read_is_told_and_the_rest_is_checked(tmp_path: Path) -> None:
    """Each file with its reason."""
    (tmp_path / "large.json").write_bytes(b" " * (64 * 1024 * 1024 + 1))
    done = validate(tmp_path, "none.json", ".", "large.json", "x.json", x=BAD)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "matrixflag validate: none.json: no such file or directory",
        "matrixflag validate: .: is a directory; name the files in it",
        "matrixflag validate: large.json: has more than 67108864 bytes, which is all that is read",
    ]
    assert done.stdout.startswith(b"x.json:1:53: error: ")
    assert b"3 files could not be read" in done.stdout


def test_json_is_alone_on_stdout(tmp_path: Path) -> None:
    """A program reads it whole."""
    done = validate(tmp_path, "--format=json", "x.json", "y.json", x=BAD, y=GOOD)
    assert [row["file"] for row in json.loads(done.stdout)] == ["x.json", "y.json"]
    assert json.loads(validate(tmp_path, "--format=json", "y.json").stdout) == []


def test_a_file_given_twice_is_read_once(tmp_path: Path) -> None:
    """Patterns of a shell overlap."""
    assert validate(tmp_path, "x.json", "x.json", x=GOOD).returncode == 0


def test_environments_may_be_named(tmp_path: Path) -> None:
    """More than one."""
    config = {"production": {"fallthrough": {"variant": "on"}}}
    flag = {"key": "a", "type": "boolean", "variants": {"on": True}, "environments": config}
    arguments = ("--environment", "production", "--environment", "dev", "x.json")
    done = validate(tmp_path, *arguments, x={"flags": [flag]})
    assert done.returncode == 0
    assert done.stdout.count(b"not configured for") == 1
    assert b"not configured for 'dev'" in done.stdout


def test_a_reader_who_leaves_is_no_failure(tmp_path: Path) -> None:
    """`| head` closes the pipe; the status still tells."""
    (tmp_path / "x.json").write_text(json.dumps({"flags": [1] * 2_000}))
    arguments = [sys.executable, "-m", "proxy", "validate", "x.json"]
    root = str(Path(command.__file__).parents[2])
    with subprocess.Popen(
        arguments,
        cwd=tmp_path,
        env={"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """A report that was not written is no report."""
    (tmp_path / "x.json").write_text(json.dumps(GOOD))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "proxy", "validate", "x.json"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(command.__file__).parents[2])},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 2
    assert b"standard output: no space left on device" in done.stderr


def test_neither_a_server_nor_redis_is_needed() -> None:
    """It starts fast, and runs where only files are."""
    program = (
        "import sys, control_plane.validation.command\n"
        "bad = {'redis', 'aiohttp', 'uvloop'} & set(sys.modules)\n"
        "sys.exit(f'imported {bad}' if bad else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_documented_example_prints_what_is_documented(tmp_path: Path) -> None:
    """Every line of it."""
    page = (Path(command.__file__).parents[2] / "docs" / "validate.md").read_text()
    example = re.search(r"<!-- example -->\n```json\n(.*?)```", page, re.DOTALL)
    output = re.search(r"<!-- output -->\n```\n(.*?)```", page, re.DOTALL)
    assert example is not None
    assert output is not None
    (tmp_path / "flags.json").write_text(example[1])
    done = validate(tmp_path, "flags.json")
    assert (done.returncode, done.stdout.decode()) == (1, output[1])

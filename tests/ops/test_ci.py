""".ci/run, with a `make` that only pretends: what it passes on, what fails it, what it prints."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tools import missing

ROOT = Path(__file__).parents[2]

# Answers as the Makefile's targets do; a test decides how the tests went.
_MAKE = """
echo "called: make $1 CI=$CI SUITES=${MATRIXFLAG_SUITES:-none}"
[ "$1" = "$FAILING" ] && exit 2
echo "bytecode: ${PYTHONDONTWRITEBYTECODE-kept}"
for argument in "$@"; do
    echo "argument: $argument"
    case $argument in
        ARGS=*) report=${argument#ARGS=--junitxml=} && report=${report%% *} ;;
        CLIENTS=*) echo "clients: ${argument#CLIENTS=}" ;;
    esac
done
case $1 in
    test) cases=$CASES ;;
    test-clients) cases=$CLIENT_CASES ;;
    *) exit 0 ;;
esac
printf '<testsuites><testsuite>%s</testsuite></testsuites>' "$cases" > "$report"
[ "$1" = test ] || exit 0
echo "a line before"
echo "======= 2 passed in 0.01s ======="
"""
_PASSED = '<testcase classname="a" name="one"/>'
_SKIPPED = '<testcase classname="a" name="two"><skipped message="no node"/></testcase>'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script, the pretended make, and an apt-get that only writes down calls."""
    if not Path("/etc/debian_version").exists():
        missing("Debian, which .ci/run is for")
    (tmp_path / "tree/.ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci/run", tmp_path / "tree/.ci/run")
    (tmp_path / "shared/suites").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    programs = ["git", "redis-server", "wrk", "npm", "node", "chromium", "debootstrap", "buildah"]
    for name in [
        *programs,
        "ip",
        "iptables",
        "faketime",
        "slapd",
        "unshare",
        "setpriv",
        "go",
        "javac",
        "mvn",
    ]:
        program(tmp_path / "bin" / name, ":")
    program(tmp_path / "bin/make", _MAKE)
    program(tmp_path / "bin/apt-get", f'echo "apt-get $*" >> {tmp_path}/apt.log')
    program(tmp_path / "bin/sudo", 'exec "$@"')
    return tmp_path


def program(path: Path, script: str) -> None:
    """Write a shell script that can be called by its name."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def hide_other_programs(checkout: Path) -> None:
    """Let a few programs of the machine be found in the checkout; others must not be, elsewhere."""
    for name in (
        "bash",
        "sh",
        "python3",
        "mktemp",
        "rm",
        "tee",
        "tail",
        "sort",
        "id",
        "cat",
        "nproc",
    ):
        path = sys.executable if name == "python3" else shutil.which(name)
        program(checkout / "bin" / name, f'exec {path} "$@"')


def ci(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script as CI does: from anywhere, without standard input."""
    environment = {
        "PATH": f"{checkout}/bin:{os.environ['PATH']}",
        "CASES": _PASSED,
        "CLIENT_CASES": "",
        "FAILING": "",
        **variables,
    }
    return subprocess.run(
        ["bash", checkout / "tree/.ci/run"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def test_runs_what_people_run_and_ends_with_the_closing_lines(checkout: Path) -> None:
    """check, test, then clients, with CI set; the last lines are the test runner's."""
    done = ci(checkout)

    assert done.returncode == 0, done.stdout + done.stderr
    called = [line for line in done.stdout.splitlines() if line.startswith("called")]
    assert called[1:4] == [
        f"called: make {target} CI=true SUITES={checkout}/shared/suites"
        for target in ("check", "test", "test-clients")
    ]
    assert done.stdout.endswith("2 passed in 0.01s =======\n")
    assert "s  make check\n" in done.stdout


def test_keeps_the_cores_busy(checkout: Path) -> None:
    """While some workers wait others compute, and no process compiles what another has."""
    done = ci(checkout, PYTHONDONTWRITEBYTECODE="1")

    assert f"--numprocesses={len(os.sched_getaffinity(0)) + 2} " in done.stdout
    assert "bytecode: kept\n" in done.stdout
    assert "bytecode: 1" not in done.stdout


@pytest.mark.parametrize(
    ("lacking", "left"), [("go", "java"), ("javac", "go"), ("mvn", "go"), ("", "go java")]
)
def test_tries_the_clients_that_can_be_compiled(checkout: Path, lacking: str, left: str) -> None:
    """One compiler less is one client less, and said."""
    hide_other_programs(checkout)
    if lacking:
        (checkout / "bin" / lacking).unlink()

    done = ci(checkout, PATH=f"{checkout}/bin")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"clients: {left}\n" in done.stdout
    assert ("is not tried" in done.stdout) is bool(lacking)


def test_takes_the_suites_that_are_named(checkout: Path) -> None:
    """Before those that stand beside the checkout."""
    (checkout / "other").mkdir()

    assert f"SUITES={checkout}/other" in ci(checkout, MATRIXFLAG_SUITES=f"{checkout}/other").stdout


def test_fails_at_once_without_the_suites(checkout: Path) -> None:
    """Their tests would skip on a laptop; here what is missing is said, and nothing is run."""
    (checkout / "shared/suites").rmdir()

    done = ci(checkout)

    assert done.returncode == 1
    assert "make suites-help" in done.stdout
    assert "find the suites failed with status 1" in done.stdout
    assert "called" not in done.stdout


@pytest.mark.parametrize("target", ["check", "test", "test-clients"])
def test_fails_with_what_failed(checkout: Path, target: str) -> None:
    """The status of the stage is the status of the run."""
    done = ci(checkout, FAILING=target)

    assert done.returncode == 2
    assert f"make {target} failed with status 2" in done.stdout


@pytest.mark.parametrize(
    "cases", [{"CASES": _PASSED + _SKIPPED}, {"CLIENT_CASES": _SKIPPED}], ids=["test", "clients"]
)
def test_fails_when_a_test_skipped(checkout: Path, cases: dict[str, str]) -> None:
    """And names it with its reason."""
    done = ci(checkout, **cases)

    assert done.returncode == 1
    assert "skipped: a.two: no node" in done.stdout
    assert "2 tests, 1 skipped" in done.stdout


def test_fails_when_no_test_ran(checkout: Path) -> None:
    """An empty report is no success."""
    assert ci(checkout, CASES="").returncode == 1


def test_installs_only_what_is_missing(checkout: Path) -> None:
    """One call of the package manager; a compiler of another language is not what it is for."""
    for name in ("node", "npm", "go", "javac", "mvn"):
        (checkout / "bin" / name).unlink()
    hide_other_programs(checkout)

    done = ci(checkout, PATH=f"{checkout}/bin")

    assert done.returncode == 0, done.stdout + done.stderr
    update, install = (checkout / "apt.log").read_text().splitlines()
    assert update == "apt-get update -qq"
    assert install == "apt-get install -y -qq --no-install-recommends nodejs npm"
    assert "no Go here: the client in Go is not tried" in done.stdout
    assert "no JDK with Maven here: the client in Java is not tried" in done.stdout
    assert "called: make test-clients" not in done.stdout

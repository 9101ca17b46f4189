"""`matrixflag`, in a process of its own where its output matters."""

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import proxy
from proxy import cli

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, "-m", "proxy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_version_is_that_of_the_distribution() -> None:
    """One number, in two files."""
    done = run("--version")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (done.returncode, done.stdout) == (0, f"matrix-flag {declared}\n")


def test_the_overview_names_every_command() -> None:
    """With a line that says what it is for."""
    done = run()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert done.returncode == 0
    for name in declared["matrixflag.commands"]:
        assert f"\n  {name} " in done.stdout
    assert done.stdout == run("--help").stdout


def test_an_unknown_command_names_the_known_ones() -> None:
    """Status 2: it cannot be used like this."""
    done = run("prox")
    assert done.returncode == 2
    assert "no command 'prox'" in done.stderr
    assert "proxy" in done.stderr


def test_a_command_has_its_own_help() -> None:
    """Each setting with its flag, its variable and its default."""
    done = run("proxy", "--help")
    assert done.returncode == 0
    for part in ("--port", "MATRIXFLAG_PORT", "[8016]", "--snapshot"):
        assert part in done.stdout
    assert "--key VALUE" not in done.stdout, "other users of the machine see command lines"


@pytest.mark.parametrize("arguments", [("--key", "s3cret"), ("--key=s3cret",), ("s3cret",)])
def test_an_unknown_argument_is_told_without_its_value(arguments: tuple[str, ...]) -> None:
    """It may be a key, and what is told goes to a log."""
    done = run("proxy", "--snapshot", "x", *arguments)
    assert done.returncode == 2
    assert "unknown arguments" in done.stderr
    assert "s3cret" not in done.stderr


def entries(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Replace the commands that are installed."""
    made = [EntryPoint(n.replace("_", "-"), v, "matrixflag.commands") for n, v in values.items()]
    monkeypatch.setattr(cli, "entry_points", lambda group: made)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("control_plane", "matrix-flag[control-plane]"),
        ("dev", "matrix-flag[embedded]"),
        ("other", "matrix-flag"),
    ],
)
def test_a_missing_extra_answers_with_the_install_command(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied and pasted, it works."""
    entries(monkeypatch, **{name: "nobody_has_this:COMMAND"})
    assert cli.main([name.replace("_", "-")]) == 2
    assert f"pip install '{package}'" in capsys.readouterr().err


def test_the_overview_shows_what_cannot_run_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plain install has the sidecar only."""
    entries(monkeypatch, dev="nobody_has_this:COMMAND", proxy="proxy.app:COMMAND")
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert "not available" in out
    assert "run the sidecar" in out


def test_a_defect_of_ours_is_not_called_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would send people to install what they have."""
    entries(monkeypatch, proxy="proxy.nobody_has_this:COMMAND")
    with pytest.raises(ModuleNotFoundError):
        cli.main(["proxy"])


def test_another_distributions_proxy_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several on PyPI install a package of this name."""
    monkeypatch.delattr(proxy, "DISTRIBUTION")
    assert cli.main(["proxy"]) == 2
    assert "an environment of its own" in capsys.readouterr().err


def test_the_sidecar_starts_without_the_control_plane(tmp_path: Path) -> None:
    """Only the command that was named is imported, and no library that few flags need."""
    program = (
        "import sys; sys.argv = ['matrixflag', 'proxy', '--help']\n"
        "from proxy.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "bad = {'control_plane', 'redis', 'jsonschema', 're2', 'watchfiles', 'yaml'}\n"
        "bad &= set(sys.modules)\n"
        "sys.exit(f'imported {bad}' if bad else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr

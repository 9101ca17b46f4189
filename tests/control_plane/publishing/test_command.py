"""`matrixflag keys`, in a process of its own: what it prints is what the programs take."""

import os
import subprocess
import sys
from pathlib import Path

from control_plane.publishing.signing import parse_signing_keys
from proxy.trust import parse_verify_keys
from tests.support.signing import signing_key


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "proxy", "keys", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environ},
    )


def lines(text: str) -> dict[str, str]:
    """Return the variables of an environment file."""
    kept = (line for line in text.splitlines() if not line.startswith("#"))
    return dict(line.split("=", 1) for line in kept)


def test_a_new_key_is_printed_with_its_public_side() -> None:
    """As lines of an environment file, different each time."""
    done = run("signing")
    assert (done.returncode, done.stderr) == (0, "")
    made = lines(done.stdout)
    (key,) = parse_signing_keys(made["MATRIXFLAG_SIGNING_KEYS"])
    assert made["MATRIXFLAG_VERIFY_KEYS"] == key.public
    assert parse_verify_keys(key.public)
    assert f"# key id {key.id}\n" in done.stdout
    assert lines(run("signing").stdout) != made


def test_the_public_side_of_keys_in_use_is_told(tmp_path: Path) -> None:
    """From the variable or the file that the control plane reads; never the private side."""
    one, two = signing_key("one"), signing_key("two")
    file = tmp_path / "keys"
    file.write_text(f"{one.private()}\n{two.private()}\n")
    from_file = run("public", MATRIXFLAG_SIGNING_KEYS_FILE=str(file))
    both = f"{one.private()},{two.private()}"
    for done in (from_file, run("public", MATRIXFLAG_SIGNING_KEYS=both)):
        assert done.returncode == 0, done.stderr
        assert lines(done.stdout) == {"MATRIXFLAG_VERIFY_KEYS": f"{one.public},{two.public}"}


def test_what_cannot_be_is_told() -> None:
    """Status 2, and no secret quoted."""
    none = run("public", MATRIXFLAG_SIGNING_KEYS="", MATRIXFLAG_SIGNING_KEYS_FILE="")
    assert none.returncode == 2
    assert "set MATRIXFLAG_SIGNING_KEYS or MATRIXFLAG_SIGNING_KEYS_FILE" in none.stderr
    bad = run("public", MATRIXFLAG_SIGNING_KEYS="s3cret")
    assert (bad.returncode, "s3cret" in bad.stderr) == (2, False)
    assert "MATRIXFLAG_SIGNING_KEYS" in bad.stderr
    missing = run("public", MATRIXFLAG_SIGNING_KEYS_FILE="/nowhere")
    assert (missing.returncode, "No such file" in missing.stderr) == (2, True)

"""docs/bucketing.md can be implemented from: what it says and shows is run against the vectors."""

import json
import re
import subprocess
import sys
from pathlib import Path

from proxy.contract.definitions import Arm
from proxy.engine.bucketing import reallocate
from tests.support.reference import DOCS
from tests.support.tools import require
from tests.vectors import make_bucketing

PAGE = (DOCS / "bucketing.md").read_text()
VECTORS = make_bucketing.PATH
_PYTHON = """
import json, sys
for each in json.load(open(sys.argv[1]))["vectors"]:
    print(json.dumps(bucket(each["salt"], each["unit"])))
"""
_JAVASCRIPT = """
const text = require("fs").readFileSync(process.argv[2]);
for (const { salt, unit } of JSON.parse(text).vectors) console.log(bucket(salt, unit));
"""


def shown(language: str) -> str:
    """Return the one program that the page shows in a language."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(code)


def output(*command: object) -> list[int | None]:
    """Return the buckets that a program prints, one a line."""
    done = subprocess.run([*map(str, command)], capture_output=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


WANTED = [vector["bucket"] for vector in json.loads(VECTORS.read_text())["vectors"]]


def test_the_python_shown_agrees_with_every_vector(tmp_path: Path) -> None:
    """Copied from the page as it stands."""
    program = tmp_path / "bucket.py"
    program.write_text(shown("python") + _PYTHON)
    assert output(sys.executable, program, VECTORS) == WANTED


def test_the_javascript_shown_agrees_with_every_vector(tmp_path: Path) -> None:
    """Copied from the page as it stands."""
    program = tmp_path / "bucket.cjs"
    program.write_text(shown("javascript") + _JAVASCRIPT)
    assert output(require("node"), program, VECTORS) == WANTED


def rotated(number: int, by: int) -> int:
    """Return 32 bits rotated left."""
    return (number << by | number >> 32 - by) & 0xFFFFFFFF


def test_the_worked_example_is_worked_out() -> None:
    """Every value of its table, in its order, by the steps that stand beside them."""

    def mixed(block: int) -> int:
        return rotated(block * 0xCC9E2D51 % 2**32, 15) * 0x1B873593 % 2**32

    key = "f3b1.ä".encode()
    block, tail = int.from_bytes(key[:4], "little"), int.from_bytes(key[4:], "little")
    state = (rotated(mixed(block), 13) * 5 + 0xE6546B64) % 2**32
    joined = state ^ mixed(tail)
    measured = joined ^ len(key)
    once = (measured ^ measured >> 16) * 0x85EBCA6B % 2**32
    twice = (once ^ once >> 13) * 0xC2B2AE35 % 2**32
    h = twice ^ twice >> 16
    steps = [block, mixed(block), state, tail, mixed(tail), joined, measured, once, twice]
    values = [f"`{key.hex(' ')}`", *(f"`{step:08x}`" for step in steps)]
    values += [f"`{h:08x}`, that is {h:,}", f"{h * 100_000:,}", f"{h * 100_000 >> 32:,}"]
    table = PAGE.partition("| step | value |")[2].partition("\n\n")[0]
    assert re.findall(r"\| ([^|]+) \|$", table, re.MULTILINE) == values


def test_the_other_values_of_the_page_are_vectors() -> None:
    """Three of the flag model's own check values."""
    said = re.search(
        r"`u-1` hashes to ([\d,]+), bucket ([\d,]+), .* ([\d,]+), bucket ([\d,]+)", PAGE
    )
    assert said is not None
    numbers = [int(number.replace(",", "")) for number in said.groups()]
    wanted = [
        vector[name]
        for unit in ("u-1", 42)
        for vector in json.loads(VECTORS.read_text())["vectors"]
        if vector["salt"] == "f3b1"
        and vector["unit"] == unit
        and isinstance(unit, type(vector["unit"]))
        for name in ("hash", "bucket")
    ]
    assert numbers == wanted[:4]


def test_what_the_page_says_of_a_rollout_that_grows_and_shrinks() -> None:
    """The ranges it names are those that the control plane makes."""
    ten = reallocate([], [Arm("on", 10_000), Arm("off", 90_000)])
    grown = reallocate(ten, [Arm("on", 30_000), Arm("off", 70_000)])
    back = reallocate(grown, [Arm("on", 10_000), Arm("off", 90_000)])
    said = [
        [tuple(map(int, pair)) for pair in re.findall(r"`\[(\d+), (\d+)\)`", part)]
        for part in re.split(
            "becomes|; back", PAGE.partition("10 % to 30 %")[2].partition("again")[0]
        )
    ]
    assert said == [arms[0].ranges for arms in (ten, grown, back)]

"""`make soak MINUTES=30`: what grows when everything runs for long and Redis dies now and then.

Two control planes and two sidecars, asked all the while; a change each second; Redis killed and
started again every other minute. Each minute a line a program: resident memory, descriptors, tasks
of its event loop. In the end the slope of each memory after the warm-up, in kB an hour, by least
squares; and whether every answer was right and every unit counted. Status 1 when one was not.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import linear_regression
from time import monotonic

from tests.chaos.counting import all_counted
from tests.chaos.world import World, running_world

_WARM_UP = 0.5  # of the time: pools fill, and the log of the last 256 changes
_SAMPLE_S = 5.0
_REDIS_EVERY_S = 120.0

Samples = dict[str, list[tuple[float, float]]]
"""Seconds since the start, and kB resident, of each program."""


async def soak(minutes: float, directory: Path) -> None:
    """Run for so long, and print.

    Raises:
        AssertionError: when an answer was wrong, or a unit was not counted.
    """
    samples: Samples = defaultdict(list)
    started = monotonic()
    ends = started + minutes * 60
    async with running_world(directory, control_planes=2, sidecars=2) as world:
        async with world.evaluating() as evaluator:
            work = (_publish(world, ends), _disturb(world, ends), _look(world, ends, samples))
            async with asyncio.TaskGroup() as tasks:
                for each in work:
                    tasks.create_task(each)
            counted_s = await all_counted(world, evaluator)
            answers = sum(target.answers for target in evaluator.targets)
            longest_s = evaluator.longest_s
        _say(f"{answers} evaluations, none wrong, the longest {longest_s * 1000:.0f} ms")
        _say(f"{world.step} changes; {len(evaluator.units)} units, counted after {counted_s:.1f} s")
    _say("| program | from MB | to MB | slope, kB/h |")
    _say("|---|---|---|---|")
    warm_s = minutes * 60 * _WARM_UP
    for name, points in samples.items():
        warm = [(at_s / 3600, kb) for at_s, kb in points if at_s >= warm_s]
        slope = linear_regression(*zip(*warm, strict=True)).slope
        _say(f"| {name} | {warm[0][1] / 1024:.1f} | {warm[-1][1] / 1024:.1f} | {slope:+.0f} |")


async def _publish(world: World, ends: float) -> None:
    number = 0
    while monotonic() < ends:
        number += 1
        await world.publish_once(number % 2)
        await asyncio.sleep(1)
    await world.publish()


async def _disturb(world: World, ends: float) -> None:
    while monotonic() + _REDIS_EVERY_S < ends:
        await asyncio.sleep(_REDIS_EVERY_S)
        world.redis.kill()
        await asyncio.sleep(3)
        await asyncio.to_thread(world.redis.restart)
        _say("Redis was killed and has started again")


async def _look(world: World, ends: float, samples: Samples) -> None:
    started, said = monotonic(), 0
    while monotonic() < ends:
        await asyncio.sleep(_SAMPLE_S)
        at_s = monotonic() - started
        for program, _ in world.programs():
            samples[program.name].append((at_s, program.memory_bytes() / 1024))
        if at_s // 60 > said:
            said = int(at_s // 60)
            for program, url in world.programs():
                figures = await world.footprint(program, url)
                _say(
                    f"{said:4d} min  {program.name:16} {program.memory_bytes() / 2**20:6.1f} MB "
                    f"{program.descriptors(()):4d} descriptors {figures.tasks:4.0f} tasks"
                )


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """Run it as the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    with tempfile.TemporaryDirectory(prefix="matrixflag-soak-") as directory:
        try:
            asyncio.run(soak(parser.parse_args().minutes, Path(directory)))
        except AssertionError as error:
            _say(f"failed: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Asks every sidecar all the while, as applications do, and judges each answer.

The flags it knows are those of `tests.chaos.world`:

    step      a number that each publication makes one larger
    greeting  one of two texts, by the country of the context
    shown     a tracked flag: half of all units each, for ever the same half

An answer is right when it is a 200 with a value that was published, never an earlier one than that
sidecar gave before, and for a unit always the same. Everything else is kept in `wrong`.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

__all__ = ["Evaluator", "Target", "evaluating"]

_PATIENCE_S = 10.0  # for one answer: a frozen machine is slow, a failure is an answer
_GREETINGS = {"DE": "hallo", "FR": "hello"}


@dataclass
class Target:
    """A sidecar that is asked.

    `down` says that no answer is expected for now, `restored` that it may go back once, to what a
    backup had.
    """

    url: str
    down: bool = False
    restored: int | None = None
    step: int = 0
    answers: int = 0
    failures: int = 0

    def unit(self) -> str:
        """Return the unit to ask about next; no other sidecar is asked about it."""
        return f"{self._prefix}{self.answers}"

    def is_of(self, unit: str) -> bool:
        """Return whether this sidecar was asked about a unit."""
        return unit.startswith(self._prefix)

    @property
    def _prefix(self) -> str:
        return f"{self.url.rpartition(':')[2]}-"


@dataclass
class Evaluator:
    """What was asked and answered. `published()` is the latest step that anybody tried to write."""

    targets: Sequence[Target]
    published: Callable[[], int]
    wrong: list[str] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)
    """The variant that each unit was shown, of those that got an answer."""
    unsure: set[str] = field(default_factory=set)
    """Units that got no answer, or from a sidecar that was killed: they may be counted or not."""
    longest_s: float = 0.0
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def all_see(self, step: int, within_s: float) -> float:
        """Return how many seconds it took until every sidecar that is up answers this step."""
        loop = asyncio.get_running_loop()
        started = loop.time()

        def seen() -> bool:
            return all(target.down or target.step >= step for target in self.targets)

        try:
            async with asyncio.timeout(within_s), self._moved:
                await self._moved.wait_for(seen)
        except TimeoutError:
            steps = [target.step for target in self.targets]
            raise AssertionError(f"step {step} not within {within_s} s: {steps}") from None
        return loop.time() - started

    def lost_memory(self, target: Target, counted: Set[str]) -> None:
        """Expect no more of a sidecar that was killed than what was counted by then."""
        for unit in self.units.keys() - counted:
            if target.is_of(unit):
                self.unsure.add(unit)
                del self.units[unit]

    async def ask(self, session: aiohttp.ClientSession, target: Target, pause_s: float) -> None:
        """Ask one sidecar for ever."""
        for number in itertools.count():
            unit = target.unit()
            for flag, context in (
                ("step", {"targetingKey": unit}),
                ("greeting", {"country": ("DE", "FR")[number % 2]}),
                ("shown", {"targetingKey": unit}),
            ):
                try:
                    await self._ask_once(session, target, flag, context)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    self.unsure.add(unit)
                    target.failures += 1
                    if not target.down:
                        self.wrong.append(f"{flag} at {target.url}: {error!r}")
                    await asyncio.sleep(0.05)
            await asyncio.sleep(pause_s)

    async def _ask_once(
        self, session: aiohttp.ClientSession, target: Target, flag: str, context: dict[str, str]
    ) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        url = f"{target.url}/ofrep/v1/evaluate/flags/{flag}"
        async with session.post(url, data=json.dumps({"context": context})) as response:
            body = await response.json()
        if response.status != 200:
            if not target.down:
                self.wrong.append(f"{flag} at {target.url}: {response.status} {body}")
            return
        target.answers += 1
        if not target.down:
            self.longest_s = max(self.longest_s, loop.time() - started)
        await self._judge(target, flag, context, body["value"], body["variant"])

    async def _judge(
        self, target: Target, flag: str, context: dict[str, str], value: object, variant: str
    ) -> None:
        if flag == "step":
            assert isinstance(value, int)
            if target.restored is not None and target.restored <= value < target.step:
                target.step, target.restored = value, None
            if not target.step <= value <= self.published():
                self.wrong.append(f"step {value} at {target.url} after {target.step}")
            if value != target.step:
                target.step = value
                async with self._moved:
                    self._moved.notify_all()
        elif flag == "greeting":
            if value != _GREETINGS[context["country"]]:
                self.wrong.append(f"{value} at {target.url} for {context}")
        elif self.units.setdefault(context["targetingKey"], variant) != variant:
            self.wrong.append(f"{context} at {target.url} moved to {variant}")


@asynccontextmanager
async def evaluating(
    urls: Sequence[str], published: Callable[[], int], pause_s: float, key: str | None = None
) -> AsyncIterator[Evaluator]:
    """Ask sidecars while the context lasts, with a key; at its end nothing may have been wrong."""
    evaluator = Evaluator([Target(url) for url in urls], published)
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        tasks = [
            asyncio.create_task(evaluator.ask(session, target, pause_s))
            for target in evaluator.targets
        ]
        try:
            yield evaluator
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert not evaluator.wrong, evaluator.wrong[:10]
    assert all(target.answers for target in evaluator.targets)

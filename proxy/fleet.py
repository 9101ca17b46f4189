"""`matrixflag fleet`: which sidecar serves what, and waiting until a change is everywhere.

Without `--wait-for` it prints how an environment's fleet stands and who lags. With it, it asks
until every sidecar that is not missing serves the revision or a later one: `current` is the one
that is current when it first asks, so that a deployment does not wait for the changes of others.
Whoever it waits for is named on standard error after some seconds: a sidecar that was killed is not
missing before it was silent for long enough, and nobody should wonder what for minutes are spent.

Exit status: 0 told, or all serve it; 1 not all in time; 2 it cannot be used like this, or the
control plane cannot be asked.
"""

import argparse
import asyncio
import os
import sys
import time
from datetime import UTC, datetime
from typing import NamedTuple

import aiohttp
import msgspec
from yarl import URL

from proxy.api_token import api_token
from proxy.commands import print_out, printable
from proxy.contract.api_token import BadTokenError, add_token_file, token_hint
from proxy.contract.asking import DEFAULT_URL, BadUrlError, checked_url, later_hint, unreached
from proxy.contract.fleet import FLEET_PATH, UNCONFIRMED_MS, Fleet, InstanceStanding
from proxy.sync.client import retry_after_s

__all__ = ["COMMAND"]

_ASK_S = 1.0
_TIMEOUT_S = 10.0
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_SHOWN_CHARS = 300
_WAITED_ITEMS = 500
"""Laggards that are looked at one by one while waiting: a page of the list."""
_NAMED = 5
_QUIET_S = 3.0
"""Before anybody is named: most changes are everywhere by then."""
_AGAIN_S = 10.0
_COLUMNS = (
    *("INSTANCE", "STATE", "REVISION", "BEHIND", "AGE", "HEARD"),
    *("APPLICATION", "SOURCE", "LAST ERROR"),
)
_LEGEND = """\
states: current, serves what is current; behind, serves something else; unconfirmed, for a minute
nobody confirmed what it serves, or it was not heard; missing, it was not heard for minutes.
columns: BEHIND in revisions, AGE since what it serves was confirmed, HEARD since it last told,
SOURCE its way to the control plane, LAST ERROR of its source, which may be over.
docs/fleet.md says what to do about each.
"""


class _Unusable(Exception):
    """What was asked for cannot be done; the text says why."""


class _Unanswered(Exception):
    """The control plane did not answer, or not now; waiting goes on.

    `after_s` is how long it asked not to be asked again.
    """

    def __init__(self, text: str, after_s: float | None = None) -> None:
        super().__init__(text)
        self.after_s = after_s or 0.0


class _Target(NamedTuple):
    """What is waited for."""

    epoch: str
    revision: int


class _Command:
    """`matrixflag fleet`."""

    help = "show which sidecar serves what; wait until a change is everywhere"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.epilog = _LEGEND
        parser.add_argument("--project", metavar="KEY", help="the project [default]")
        parser.add_argument("--environment", metavar="KEY", help="the environment [production]")
        parser.add_argument(
            "--wait-for",
            metavar="REVISION",
            type=_revision,
            help="until all serve this revision or a later one; `current` is that of now",
        )
        parser.add_argument(
            "--timeout", metavar="S", type=_seconds, default=300.0, help="longest wait [300]"
        )
        parser.add_argument(
            "--missing-after",
            metavar="S",
            type=_silence,
            help="do not wait for sidecars that were silent for so long, 60 at least, because they"
            " tell twice a minute that they are there [as long as the control plane says: 300]",
        )
        parser.add_argument(
            "--limit", metavar="N", type=_limit, default=20, help="laggards shown, at most 500 [20]"
        )
        parser.add_argument(
            "--format", choices=("text", "json"), default="text", help="json is the answer [text]"
        )
        parser.add_argument(
            "--url", metavar="URL", help=f"the control plane [MATRIXFLAG_URL, {DEFAULT_URL}]"
        )
        add_token_file(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Ask, perhaps again and again, tell what there is, and return the exit status."""
        try:
            url = checked_url(args.url or os.environ.get("MATRIXFLAG_URL") or DEFAULT_URL)
            asking = _Asking(url, api_token(args.token_file), args)
            fleet, lacking = asyncio.run(asking.until_served(args.wait_for, args.timeout))
        except (_Unusable, _Unanswered, BadTokenError, BadUrlError) as error:
            _say(str(error))
            return 2
        json = args.format == "json"
        print_out(printable(_json(fleet) if json else _text(fleet, args.limit)))
        if lacking:
            _say(f"after {args.timeout:g} s, {lacking}")
        elif args.wait_for is not None and not fleet.instances:
            _say("no sidecar has told what it serves")
        return int(bool(lacking))


COMMAND = _Command()


class _Asking:
    """Questions to one control plane, about one environment."""

    def __init__(self, url: str, token: str, args: argparse.Namespace) -> None:
        limit = args.limit if args.wait_for is None else _WAITED_ITEMS
        query = {"limit": str(limit)}
        query |= {} if args.project is None else {"project": args.project}
        query |= {} if args.environment is None else {"environment": args.environment}
        self._url = URL(url + FLEET_PATH).with_query(query)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._missing_after_s: float | None = args.missing_after
        self._say_at_s = time.monotonic() + _QUIET_S
        self._has_said = False

    async def until_served(self, wanted: int | None, timeout_s: float) -> tuple[Fleet, str]:
        """Return the fleet once all serve what is wanted (0 is what is current), and what lacks.

        `wanted` None asks once. The text is empty when nothing lacks.

        Raises:
            _Unusable: the control plane refuses to answer.
            _Unanswered: it did not answer at all, until the end.

        What it answered last stands for what it does not answer at the end.
        """
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        until_s = time.monotonic() + timeout_s
        target: _Target | None = None
        known: tuple[Fleet, str] | None = None
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            while True:
                pause_s = _ASK_S
                try:
                    fleet = await self._ask(session)
                except _Unanswered as error:
                    if wanted is None:
                        raise
                    if time.monotonic() >= until_s:
                        if known is None:
                            raise
                        return known[0], f"{known[1]}; since then {error}"
                    pause_s = max(_ASK_S, error.after_s)
                    self._tell(str(error))
                else:
                    if wanted is None:
                        return fleet, ""
                    if target is None or target.epoch != fleet.epoch:
                        # a new epoch counts anew: what is current then is what was waited for
                        anew = wanted == 0 or target is not None
                        target = _Target(fleet.epoch, fleet.revision if anew else wanted)
                    lacking = _lacking(fleet, target, self._missing_after_s)
                    if not lacking or time.monotonic() >= until_s:
                        return fleet, lacking
                    known = fleet, lacking
                    self._tell(lacking, fleet.missing_after_ms)
                await asyncio.sleep(min(pause_s, max(0.0, until_s - time.monotonic())))

    def _tell(self, lacking: str, missing_after_ms: int | None = None) -> None:
        """Say now and then what is waited for, and once how long at most for one that is dead."""
        now_s = time.monotonic()
        if now_s < self._say_at_s:
            return
        self._say_at_s = now_s + _AGAIN_S
        _say(f"waiting: {lacking}")
        if missing_after_ms is not None and not self._has_said:
            self._has_said = True
            silence = f"{missing_after_ms / 1000:g} s of silence"
            _say(f"one that was killed is missing after {silence}; --missing-after waits for less")

    async def _ask(self, session: aiohttp.ClientSession) -> Fleet:
        try:
            async with session.get(self._url, allow_redirects=False) as response:
                body = await response.content.read(_MAX_ANSWER_BYTES)
                while piece := await response.content.read(_MAX_ANSWER_BYTES):
                    body += piece
                    if len(body) > _MAX_ANSWER_BYTES:
                        raise _Unusable(f"{self._url}: more than {_MAX_ANSWER_BYTES} bytes")
                status, later = response.status, response.headers.get("Retry-After")
        except TimeoutError:
            raise _Unanswered(f"{self._url}: no answer within {_TIMEOUT_S:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _Unanswered(f"{self._url.origin()}: {unreached(error)}") from None
        if status >= 500 or status == 429:
            said = f"{_detail(body)}{later_hint(later)}"
            after_s = retry_after_s(later, datetime.now(UTC))
            raise _Unanswered(f"{self._url.origin()} answers {status}: {said}", after_s)
        if status != 200:
            raise _Unusable(
                f"{self._url.origin()} answers {status}: {_detail(body)}{token_hint(status)}"
            )
        try:
            return msgspec.json.decode(body, type=Fleet)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise _Unusable(f"{self._url}: no control plane answers like that") from None


def _say(text: str) -> None:
    sys.stderr.write(printable(f"matrixflag fleet: {text}\n"))
    sys.stderr.flush()


def _lacking(fleet: Fleet, target: _Target, missing_after_s: float | None) -> str:
    """Return why a revision, or a later one, is not known to be everywhere; empty when it is."""
    missing_ms = fleet.missing_after_ms
    if missing_after_s is not None:
        missing_ms = min(missing_ms, round(missing_after_s * 1000))
    served = sum(
        group.instances
        for group in fleet.revisions
        if group.epoch == target.epoch
        and group.revision is not None
        and group.revision >= target.revision
    )
    laggards = [i for i in fleet.items if i.state != "missing" and not _serves(i, target)]
    waited_for = [item for item in laggards if item.silent_ms < missing_ms]
    given_up = len(laggards) - len(waited_for)
    lacking = fleet.instances - fleet.states["missing"] - given_up - served
    if lacking:
        of_all = f"{lacking} of {lacking + served} sidecars"
        names = ", ".join(_waited(item, missing_ms) for item in waited_for[:_NAMED])
        more = f", and {lacking - _NAMED} more" if lacking > _NAMED else ""
        return f"{of_all} do not serve revision {target.revision}: {names}{more}"
    if fleet.revision < target.revision:
        return f"revision {target.revision} is not published"
    # what this replica does not know of may lag
    return "" if fleet.complete else "Redis is away: what other replicas heard is not known"


def _serves(item: InstanceStanding, target: _Target) -> bool:
    revision = -1 if item.revision is None else item.revision
    return item.epoch == target.epoch and revision >= target.revision


def _waited(item: InstanceStanding, missing_ms: int) -> str:
    """Return who is waited for; of one that is silent, how long it still is."""
    serves = "nothing yet" if item.revision is None else f"revision {item.revision}"
    text = f"{item.instance} (serves {serves}, heard {_ago(item.silent_ms)} ago"
    if item.silent_ms < UNCONFIRMED_MS:
        return text + ")"
    still_s = (missing_ms - item.silent_ms + 999) // 1000
    return f"{text}; if it is dead it is waited for until it is missing, in {still_s} s)"


def _json(fleet: Fleet) -> str:
    return msgspec.json.format(msgspec.json.encode(fleet), indent=2).decode() + "\n"


def _text(fleet: Fleet, limit: int) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in fleet.states.items())
    lines = [
        f"{fleet.project}/{fleet.environment}: revision {fleet.revision} is current, published at "
        f"{fleet.published_at}",
        f"{fleet.instances} {'sidecar' if fleet.instances == 1 else 'sidecars'}: {counts}",
    ]
    if not fleet.complete:
        lines.append("Redis is away: these are the sidecars of one replica")
    if fleet.names_shared:
        lines.append(
            f"{fleet.names_shared} names are shared by several sidecars, of which one is seen: "
            "give each a MATRIXFLAG_INSTANCE of its own"
        )
    laggards = [item for item in fleet.items if item.state != "current"][:limit]
    if laggards:
        rows = [_COLUMNS, *map(_row, laggards)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines.append("")
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join(cells).rstrip())
        others = fleet.instances - fleet.states["current"] - len(laggards)
        if others:
            lines.append(f"and {others} more")
    return "\n".join(lines) + "\n"


def _row(item: InstanceStanding) -> tuple[str, ...]:
    return (
        item.instance,
        item.state,
        "-" if item.revision is None else str(item.revision),
        "-" if item.behind_by is None else str(item.behind_by),
        "-" if item.revision is None else _ago(item.age_ms),
        f"{_ago(item.silent_ms)} ago",
        f"{item.application} {item.application_version}".strip() or "-",
        item.source or "-",
        _last_error(item),
    )


def _last_error(item: InstanceStanding) -> str:
    """Return the kind of the last error and how long ago it was, which may be long over."""
    if item.last_error is None:
        return "-"
    if item.last_error_at is None:
        return item.last_error
    heard, at = (datetime.fromisoformat(text) for text in (item.heard_at, item.last_error_at))
    ago_ms = item.silent_ms + round((heard - at).total_seconds() * 1000)
    return f"{item.last_error}, {_ago(ago_ms)} ago"


def _ago(ms: int) -> str:
    """Return a time in the unit that a person would take."""
    s = max(0, ms) / 1000
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if s >= 2 * unit_s:
            return f"{s / unit_s:.0f} {unit}"
    return f"{s:.0f} s"


def _detail(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        said = None
    if isinstance(said, dict) and "code" in said and "detail" in said:
        return str(said["detail"])[:_SHOWN_CHARS]
    return "no control plane answers like that"


def _revision(text: str) -> int:
    """Return a revision; 0 for the current one, which is no revision that anybody serves."""
    if text == "current":
        return 0
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 16 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is neither a revision nor current")
    return int(text)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 500):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 1 to 500")
    return int(text)


def _silence(text: str) -> float:
    value = _seconds(text)
    if value * 1000 < UNCONFIRMED_MS:
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is less than {UNCONFIRMED_MS // 1000} seconds"
        )
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number of seconds, 86400 at most")
    return value

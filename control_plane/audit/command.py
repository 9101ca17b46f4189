"""`matrixflag audit verify`: proves that nothing of an audit log was removed, changed or moved.

It reads an export, from a file or from a control plane, and follows the chain from its beginning,
the first entry or a signed checkpoint, to where the project stands. What is printed at the end, a
number and a link, can be written down elsewhere and given as `--seen` the next time: with it, a log
that somebody made anew is found, too.

A log that was shortened begins with the link of what went last. Of an older entry nothing is left
that `--seen` could be held against, whoever signed that it went: the keys vouch for what was in
Redis, and that is what `--seen` is there to doubt. So it is undecided, neither well nor broken.

Exit status: 0 the log holds, 1 it does not, 2 it could not be read, 3 it holds as far as it goes,
and begins after what `--seen` names.
"""

import argparse
import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import msgspec
from yarl import URL

from control_plane.api_token import api_token
from control_plane.audit.chain import GENESIS, Break, Checkpoint, Link, check, checkpoint_text
from control_plane.audit.export import Beginning, NotAnAuditLog, read_lines
from proxy.contract.api_token import BadTokenError, add_token_file, token_hint
from proxy.contract.asking import DEFAULT_URL, BadUrlError, checked_url, later_hint, unreached
from proxy.contract.signing_keys import VERIFY_PREFIX, split_keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["COMMAND"]

_TIMEOUT_S = 60.0
_MAX_BYTES = 1024 * 1024 * 1024


class _Unusable(Exception):
    """The log cannot be read, or what is asked for makes no sense; the text says why."""


class _Command:
    """`matrixflag audit`."""

    help = "prove that nothing of an audit log was removed or changed"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("what", choices=("verify",), help="follow the chain to its end")
        parser.add_argument(
            "file",
            nargs="?",
            metavar="FILE",
            help="an export of /api/v1/audit/export, - for stdin [ask the control plane]",
        )
        parser.add_argument("--project", metavar="KEY", help="the project [the default one]")
        parser.add_argument(
            "--url", metavar="URL", help=f"the control plane [MATRIXFLAG_URL, {DEFAULT_URL}]"
        )
        add_token_file(parser)
        parser.add_argument(
            "--public-key",
            metavar="KEYS",
            help="of signing keys, by commas: a checkpoint must be signed by one of them",
        )
        parser.add_argument(
            "--seen",
            action="append",
            default=[],
            metavar="NUMBER:LINK",
            help="as an earlier run printed it: this entry must be in the log, with this link",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Read, follow, print what was found, and return the exit status."""
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            keys = _public_keys(args.public_key)
            seen = [_seen(text) for text in args.seen]
            beginning, links = read_lines(_lines(args))
        except NotAnAuditLog as error:
            where = "" if args.file is None else f"{args.file}: "
            sys.stderr.write(f"matrixflag audit: {where}{error}\n")
            return 2
        except (_Unusable, BadTokenError, BadUrlError) as error:
            sys.stderr.write(f"matrixflag audit: {error}\n")
            return 2
        except ValueError as error:
            sys.stderr.write(f"matrixflag audit: --public-key: {error}\n")
            return 2
        breaks = _verify(beginning, links, keys, seen)
        older = [each for each, _ in seen if each < _begins_after(beginning)]
        if args.project not in (None, beginning.project):
            what = f"the log is of project {beginning.project[:80]!r}, not of {args.project[:80]!r}"
            breaks.insert(0, Break(beginning.sequence, what))
        for wrong in breaks:
            sys.stdout.write(f"entry {wrong.sequence}: {wrong.what}\n")
        status = 1 if breaks else 3 if older else 0
        for each in older if status == 3 else ():
            what = "--seen names it, and it was removed when it was old: nothing is left to compare"
            sys.stdout.write(f"entry {each}: {what}\n")
        sys.stdout.write(_summary(beginning, len(links), status) + "\n")
        for hint in () if breaks else _unproved(args, beginning):
            sys.stdout.write(f"{hint}\n")
        return status


COMMAND = _Command()


def _begins_after(beginning: Beginning) -> int:
    """Return the number of the newest entry that was removed, 0 for none."""
    return 0 if beginning.checkpoint is None else beginning.checkpoint.sequence


def _summary(beginning: Beginning, count: int, status: int) -> str:
    """Return what was found, in a line; its last word is for `--seen`, when the log holds."""
    begins = beginning.checkpoint
    before = "from the first on"
    if begins is not None and begins.removed:
        before = f"{begins.removed} before them removed when they were old"
    log = f"{count} entries of project {beginning.project!r}, {before}"
    ends = f"it ends with {beginning.sequence}:{beginning.head}"
    if status == 0:
        return f"OK: {log}; {ends}"
    if status == 3:
        return f"UNDECIDED: {log}; they hold, what --seen names was before them; {ends}"
    return f"BROKEN: {log}; not all of that is true, by what is said above"


def _unproved(args: argparse.Namespace, beginning: Beginning) -> list[str]:
    """Return what a log that holds does not prove, and what would."""
    hints = []
    if args.file is not None and not args.seen:
        hints.append(
            "a file can be cut off at its end: hold it against the control plane, or give --seen"
        )
    if beginning.checkpoint is not None and args.public_key is None:
        hints.append("who removed its beginning was not looked at: give --public-key")
    return hints


def _verify(
    beginning: Beginning,
    links: list[Link],
    keys: list["Ed25519PublicKey"],
    seen: list[tuple[int, str]],
) -> list[Break]:
    """Return everything that is wrong with a log; of what it begins after nothing is known."""
    breaks: list[Break] = []
    start = GENESIS
    if beginning.checkpoint is not None:
        start = beginning.checkpoint.head
        breaks += _untrusted(beginning, beginning.checkpoint, keys)
    elif links and not links[0].head:
        breaks.append(Break(links[0].sequence, "it is of before there was a chain"))
    verdict = check(links, start, beginning.head)
    breaks += verdict.breaks
    if links and verdict.sequence != beginning.sequence:
        what = f"the log ends with it, and the project is at {beginning.sequence}"
        breaks.append(Break(verdict.sequence, what))
    breaks += _of_others(beginning.project, links)
    oldest = _begins_after(beginning)
    # what was removed last is there by its link, which the first entry left has to name
    there = {oldest: start, **{each.sequence: each.head for each in links}}
    for sequence, head in seen:
        if sequence >= oldest and there.get(sequence) != head:
            what = "it is not the one that --seen names: the log was made anew, or is another"
            breaks.append(Break(sequence, what))
    return breaks


class _Named(msgspec.Struct):
    project: str = ""


def _of_others(project: str, links: list[Link]) -> list[Break]:
    """Return the first entry that is another project's; older ones do not say whose they are."""
    for each in links:
        try:
            named = msgspec.json.decode(each.entry, type=_Named).project
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            continue  # `check` tells
        if named not in ("", project):
            return [Break(each.sequence, f"it is of project {named[:80]!r}")]
    return []


def _untrusted(
    beginning: Beginning, checkpoint: Checkpoint, keys: list["Ed25519PublicKey"]
) -> list[Break]:
    at = checkpoint.sequence
    if checkpoint.project != beginning.project:
        return [Break(at, f"the checkpoint is of project {checkpoint.project[:80]!r}")]
    if not keys:
        return []
    if _is_signed(checkpoint, keys):
        return []
    return [Break(at, "no key that was given has signed the checkpoint that the log begins with")]


def _is_signed(checkpoint: Checkpoint, keys: list["Ed25519PublicKey"]) -> bool:
    from cryptography.exceptions import InvalidSignature

    text = checkpoint_text(checkpoint)
    for each in checkpoint.signatures:
        for key in keys:
            try:
                signature = base64.b64decode(each.signature, validate=True)
                key.verify(signature, text)
            except (InvalidSignature, ValueError):
                continue
            return True
    return False


def _public_keys(text: str | None) -> list["Ed25519PublicKey"]:
    """Return the keys of `--public-key`; raises ValueError for what is none."""
    if text is None:
        return []
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    keys = []
    for key in split_keys(text, VERIFY_PREFIX):
        try:
            pem = key.startswith(b"-----")
            loaded = load_pem_public_key(key) if pem else Ed25519PublicKey.from_public_bytes(key)
        except (ValueError, UnsupportedAlgorithm):
            loaded = None
        if not isinstance(loaded, Ed25519PublicKey):
            raise _Unusable("--public-key holds something else than public keys of Ed25519")
        keys.append(loaded)
    return keys


def _seen(text: str) -> tuple[int, str]:
    number, _, head = text.partition(":")
    if not (number.isascii() and number.isdigit() and len(head) == len(GENESIS)):
        raise _Unusable(f"--seen {text[:80]!r}: is not NUMBER:LINK, as an earlier run printed it")
    return int(number), head


def _lines(args: argparse.Namespace) -> list[bytes]:
    if args.file is None:
        return asyncio.run(_fetch(args)).splitlines()
    try:
        data = sys.stdin.buffer.read() if args.file == "-" else Path(args.file).read_bytes()
    except OSError as error:
        raise _Unusable(f"{args.file}: {error.strerror or type(error).__name__}") from None
    return data.splitlines()


async def _fetch(args: argparse.Namespace) -> bytes:
    base = checked_url(args.url or os.environ.get("MATRIXFLAG_URL") or DEFAULT_URL)
    query = {} if args.project is None else {"project": args.project}
    token = api_token(args.token_file)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_TIMEOUT_S)
    try:
        url = URL(f"{base}/api/v1/audit/export").with_query(query)
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            data = bytearray()
            async for piece in response.content.iter_any():
                data += piece
                if len(data) > _MAX_BYTES:
                    raise _Unusable(f"{url.origin()}: more than {_MAX_BYTES} bytes")
            if response.status != 200:
                later = later_hint(response.headers.get("Retry-After"))
                said = f"answers {response.status}: {_detail(data)}"
                raise _Unusable(f"{url.origin()} {said}{token_hint(response.status)}{later}")
            return bytes(data)
    except TimeoutError:
        raise _Unusable(f"{base}: no answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _Unusable(f"{base}: {unreached(error)}") from None


class _Problem(msgspec.Struct):
    detail: str = ""


def _detail(data: bytes | bytearray) -> str:
    try:
        return msgspec.json.decode(data, type=_Problem).detail[:300]
    except (msgspec.MsgspecError, UnicodeError):
        return "no control plane answers like that"

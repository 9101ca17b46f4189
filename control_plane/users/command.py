"""`matrixflag admin create`: makes an administrator of all projects over the API.

The password is read from a file or asked for at the terminal, never an argument, because those are
seen in the list of processes. What lets the first one in is the control plane's `ADMIN_TOKEN`, in
`MATRIXFLAG_TOKEN`, which from then on is needed no more: the next are made by an administrator,
with the access token of a login.

Exit status: 0 made, 1 refused, 2 it cannot be used like this or the control plane is not reached.
"""

import argparse
import asyncio
import getpass
import os
import sys
from pathlib import Path

import aiohttp
import msgspec
from yarl import URL

from control_plane.access.roles import ANYWHERE, Role
from control_plane.api_token import api_token
from control_plane.users.model import RoleInput, UserInput, check_email, plain_email
from control_plane.users.policy import check_password
from proxy.contract.api_token import BadTokenError, add_token_file, token_hint
from proxy.contract.asking import DEFAULT_URL, BadUrlError, checked_url, later_hint, unreached

__all__ = ["COMMAND"]

_TOKEN = "the control plane's ADMIN_TOKEN, or the access token of an administrator"  # noqa: S105 - a sentence
_TIMEOUT = aiohttp.ClientTimeout(total=30)


class _Refused(Exception):
    """The control plane said no; the text says why."""


class _Unusable(Exception):
    """It could not be asked; the text says why."""


class _Command:
    """`matrixflag admin`."""

    help = "make an administrator"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("what", choices=("create",))
        parser.add_argument("--email", required=True, metavar="ADDRESS", help="what they log in as")
        parser.add_argument("--name", default="", help="how they are called")
        parser.add_argument(
            "--password-file",
            metavar="FILE",
            help="holds the password, - for stdin [asked for at the terminal]",
        )
        parser.add_argument(
            "--url", metavar="URL", help=f"the control plane [MATRIXFLAG_URL, {DEFAULT_URL}]"
        )
        add_token_file(parser, _TOKEN)

    def run(self, args: argparse.Namespace) -> int:
        """Ask for what is missing, make the person, say so."""
        try:
            document = _administrator(args.email, args.name, _password(args.password_file))
            url = checked_url(args.url or os.environ.get("MATRIXFLAG_URL") or DEFAULT_URL)
            asyncio.run(_create(url, api_token(args.token_file), document))
        except _Refused as error:
            sys.stderr.write(f"matrixflag admin: {error}\n")
            return 1
        except (_Unusable, BadTokenError, BadUrlError) as error:
            sys.stderr.write(f"matrixflag admin: {error}\n")
            return 2
        sys.stdout.write(f"{document.email} is an administrator of all projects\n")
        return 0


COMMAND = _Command()


def _administrator(email: str, name: str, password: str) -> UserInput:
    """Return the document; raises _Unusable with all that is wrong."""
    email = plain_email(email)
    problems = check_email(email, name) + check_password(password, email, name)
    if problems:
        raise _Unusable("; ".join(f"{p.pointer[1:]}: {p.message}" for p in problems))
    everywhere = RoleInput(Role.ADMIN, ANYWHERE)
    return UserInput(email=email, name=name, roles=[everywhere], password=password)


def _password(path: str | None) -> str:
    try:
        if path == "-":
            return sys.stdin.readline().rstrip("\r\n")
        if path is not None:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        if not sys.stdin.isatty():
            raise _Unusable("there is no terminal to ask for the password; give --password-file")
        first = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != first:
            raise _Unusable("these were two passwords")
    except (OSError, UnicodeError):
        raise _Unusable(f"--password-file {path}: cannot be read") from None
    except (EOFError, KeyboardInterrupt):
        raise _Unusable("no password was given") from None
    return first


class _Problem(msgspec.Struct):
    detail: str = ""
    code: str = ""


async def _create(base: str, token: str, document: UserInput) -> None:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        url = URL(f"{base}/api/v1/users")
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as session,
            session.post(url, data=msgspec.json.encode(document), allow_redirects=False) as reply,
        ):
            body = await reply.content.read(65_536)
            status, later = reply.status, reply.headers.get("Retry-After")
    except TimeoutError:
        raise _Unusable(f"{base}: no answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _Unusable(f"{base}: {unreached(error)}") from None
    if status == 201:
        return
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeError):
        problem = _Problem("no control plane answers like that")
    hint = f"{token_hint(status, _TOKEN)}{later_hint(later)}"
    raise _Refused(f"{url.origin()} answers {status}: {problem.detail}{hint}")

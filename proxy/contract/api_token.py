"""What commands present to a control plane: a service key, or the access token of a login.

It comes from a file or the environment and is no argument, because those are seen in the list of
processes. Space around it is not of it: files and mounted secrets end in a newline. It is never
part of a message. Pure: both programs have commands, which read files and the environment.
"""

import argparse
from collections.abc import Callable, Mapping

__all__ = ["VARIABLE", "BadTokenError", "add_token_file", "read_token", "token_hint"]

VARIABLE = "MATRIXFLAG_TOKEN"

_WHAT = "a service key, or the access token of a login"


class BadTokenError(Exception):
    """There is no token where it is said to be, or what is there cannot be one."""


def add_token_file(parser: argparse.ArgumentParser, what: str = _WHAT) -> None:
    """Declare the argument `--token-file`; `what` is in the file."""
    parser.add_argument(
        "--token-file", metavar="FILE", help=f"holds {what}; or {VARIABLE} in the environment"
    )


def token_hint(status: int, what: str = _WHAT) -> str:
    """Return what to say after an answer with this status: where the token goes, if that is it.

    Whoever is not let in with a good one, 403, reads in the answer what it lacks.
    """
    return f"; give {what}, in {VARIABLE} or --token-file" if status == 401 else ""


def read_token(path: str | None, environ: Mapping[str, str], read: Callable[[str], str]) -> str:
    """Return the token; empty where none is given, for control planes that need none.

    `read` returns the text of a file.

    Raises:
        BadTokenError: the file cannot be read or is empty, or what is given is no token.
    """
    where = VARIABLE if path is None else f"--token-file {path}"
    if path is None:
        token = environ.get(VARIABLE, "").strip()
    else:
        try:
            token = read(path).strip()
        except OSError as error:
            raise BadTokenError(f"{where}: {error.strerror or type(error).__name__}") from None
        except UnicodeError:
            raise BadTokenError(f"{where}: what is in it is no token") from None
        if not token:
            raise BadTokenError(f"{where}: there is no token in it")
    if not all(" " < char < "\x7f" for char in token):
        raise BadTokenError(f"{where}: it has characters that no token has, as a second line")
    return token

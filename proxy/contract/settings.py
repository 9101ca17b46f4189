"""Settings: declared once as a frozen dataclass, read from the environment and the command line.

Each field carries, in `setting(...)`, its environment variable, unit, reason and parser; from that
come the command-line flag, the help, the table in `docs/settings.md` (a test compares) and the
list of all problems at once. Pure: the environment and the arguments are arguments.

Rules: units end the name (`timeout_s`); secrets are kept out of `repr`; a command-line flag wins
over the environment; an empty variable counts as not set, because that is what shells and
manifests produce for "nothing".
"""

import argparse
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

from proxy.contract.variables import PREFIX, is_service_link

__all__ = [
    "SettingRow",
    "SettingsError",
    "add_arguments",
    "boolean",
    "read",
    "rows",
    "secrets",
    "setting",
]

T = TypeVar("T")
Complete = Callable[[dict[str, Any]], list[str]]


class SettingsError(ValueError):
    """Settings that cannot be used: every problem, one a line, each by the setting's name."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class SettingRow(NamedTuple):
    """What is known of one setting, for help and documentation."""

    field: str
    env: str
    flag: str | None
    default: Any
    doc: str
    secret: bool


def setting(
    default: Any,
    doc: str,
    *,
    parse: Callable[[str], Any] = str,
    env: str | None = None,
    secret: bool = False,
    flag: bool | None = None,
) -> Any:
    """Declare a setting of a dataclass.

    `parse` turns text into the value or raises ValueError with a message for people. `env` is the
    variable's name where it is not `MATRIXFLAG_<FIELD>`. Secrets have no command-line flag, because
    other users can see a command line, unless `flag` says so.
    """
    flag = not secret if flag is None else flag
    metadata = {"doc": doc, "parse": parse, "env": env, "secret": secret, "flag": flag}
    if isinstance(default, (list, dict)):
        raise TypeError("a default must be immutable")
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


def boolean(text: str) -> bool:
    """Parse `true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off` in any case."""
    word = text.strip().lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise ValueError("is not true or false")


def rows(kind: type) -> Iterator[SettingRow]:
    """Yield what is known of each setting of a dataclass, in order of declaration."""
    for field in dataclasses.fields(kind):
        if "parse" not in field.metadata:
            continue
        env = field.metadata["env"] or PREFIX + field.name.upper()
        meta = field.metadata
        flag = "--" + field.name.replace("_", "-") if meta["flag"] else None
        yield SettingRow(field.name, env, flag, field.default, meta["doc"], meta["secret"])


def secrets(settings: Any) -> Iterator[str]:
    """Yield the values of the secret settings that are text; of an address, the password alone."""
    for row in rows(type(settings)):
        if not row.secret:
            continue
        held = getattr(settings, row.field)
        for value in held if isinstance(held, tuple) else (held,):
            if not isinstance(value, str):
                continue
            _, is_address, rest = value.partition("://")
            if not is_address:
                yield value
            elif "@" in rest:
                password = rest.rpartition("@")[0].partition(":")[2]
                yield from (password, unquote(password))


def add_arguments(parser: argparse.ArgumentParser, kind: type) -> None:
    """Give a parser the flag of each setting that has one."""
    for row in rows(kind):
        if row.flag is None:
            continue
        default = ",".join(row.default) if isinstance(row.default, tuple) else row.default
        shown = "" if default in (None, "") else f" [{default}]"
        text = f"{row.doc}{shown} ({row.env})".replace("%", "%%")
        if isinstance(row.default, bool):
            # nargs="?" lets `--flag` stand for `--flag true`
            parser.add_argument(
                row.flag, dest=row.field, nargs="?", const="true", metavar="BOOL", help=text
            )
        else:
            parser.add_argument(row.flag, dest=row.field, metavar="VALUE", help=text)


def read(
    kind: type[T],
    environ: Mapping[str, str],
    args: Mapping[str, str | None],
    complete: Complete | None = None,
) -> T:
    """Return the settings; a flag of `args` (by field name) wins over the environment.

    `complete` is given the values by their fields, may change them, as by what is in a file that
    one of them names, and returns the problems that it met.

    Raises:
        SettingsError: with every value that could not be parsed, what `complete` returned, and
            what the dataclass's own `__post_init__` raised SettingsError for, but for what it says
            of settings that could not be parsed: it was given their defaults.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    unread: list[str] = []
    parsers = {f.name: f.metadata["parse"] for f in dataclasses.fields(kind) if f.metadata}  # type: ignore[arg-type]
    for row in rows(kind):
        text = args.get(row.field)
        name = row.env if text is None else row.flag
        if text is None:
            text = environ.get(row.env) or None
            if text is not None and is_service_link(row.env, environ):
                text = None
        if text is None:
            continue
        try:
            values[row.field] = parsers[row.field](text)
        except ValueError as error:
            # what has an @ may be an address with a password in it
            shown = "" if row.secret or "@" in text else f"{text!r} "
            problems.append(f"{name}: {shown}{error}")
            unread += [row.env] if row.flag is None else [row.env, row.flag]
    if complete is not None:
        problems += complete(values)
    try:
        settings = kind(**values)
    except SettingsError as error:
        problems += [problem for problem in error.problems if not _is_about(problem, unread)]
    else:
        if not problems:
            return settings
    raise SettingsError(problems)


def _is_about(problem: str, names: list[str]) -> bool:
    return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", problem) for name in names)

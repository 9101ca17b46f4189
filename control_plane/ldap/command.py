"""`matrixflag ldap check`: goes the way of a login step by step, and says how each went.

It reads the settings that the control plane reads, from the environment, and asks the LDAP servers
as that does; neither the control plane nor Redis is asked. Without a password it goes as far as the
groups, as who searches. A password is read from a file or at the terminal, never from an argument.

Exit status: 0 they could log in, 1 they could not, 2 it cannot be used like this.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from control_plane.access.roles import ANYWHERE
from control_plane.ldap.model import LdapConfig
from control_plane.settings import Settings
from control_plane.sso.model import roles_of
from proxy.contract.settings import SettingsError

__all__ = ["COMMAND"]


class _Unusable(Exception):
    """It cannot be used like this; the text says why."""


class _Command:
    """`matrixflag ldap`."""

    help = "see why somebody can, or cannot, log in with LDAP"

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("what", choices=("check",))
        parser.add_argument("--user", metavar="NAME", help="what they type")
        parser.add_argument(
            "--password", action="store_true", help="ask for their password at the terminal"
        )
        parser.add_argument(
            "--password-file", metavar="FILE", help="holds their password, - for stdin"
        )
        parser.epilog = "The settings are read from the environment: MATRIXFLAG_LDAP_URL, ..."

    def run(self, args: argparse.Namespace) -> int:
        """Ask, and say what came of it."""
        try:
            settings = Settings.load(_without_secret_key(os.environ), {})
            config = _config(settings, args)
            password = _password(args)
        except SettingsError as error:
            for problem in error.problems:
                sys.stderr.write(f"matrixflag ldap: {problem}\n")
            return 2
        except _Unusable as error:
            sys.stderr.write(f"matrixflag ldap: {error}\n")
            return 2
        return _check(settings, config, args.user, password)


COMMAND = _Command()


_SECRET_KEY = ("SECRET_KEY", "SECRET_KEY_FILE")


def _without_secret_key(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with what stands for the secret of logins, which nothing here signs.

    Whoever sees what LDAP answers need not be who may make logins.
    """
    kept = {name: value for name, value in environ.items() if name not in _SECRET_KEY}
    return kept | {"SECRET_KEY": "stands for the one that the control plane has"}


def _config(settings: Settings, args: argparse.Namespace) -> LdapConfig:
    config = settings.ldap()
    if config is None:
        raise _Unusable("MATRIXFLAG_LDAP_URL names no server")
    gives_password = args.password or args.password_file is not None
    if gives_password and args.user is None:
        raise _Unusable("whose password is it? give --user")
    if config.bind_as and not gives_password:
        raise _Unusable("MATRIXFLAG_LDAP_BIND_AS needs --user and their password: --password")
    return config


def _password(args: argparse.Namespace) -> str | None:
    try:
        if args.password_file == "-":  # noqa: S105 - the word for stdin
            return sys.stdin.readline().rstrip("\r\n")
        if args.password_file is not None:
            return Path(args.password_file).read_text(encoding="utf-8").rstrip("\r\n")
        return getpass.getpass("Password: ") if args.password else None
    except (OSError, UnicodeError):
        raise _Unusable(f"--password-file {args.password_file}: cannot be read") from None
    except (EOFError, KeyboardInterrupt):
        raise _Unusable("no password was given") from None


def _check(settings: Settings, config: LdapConfig, name: str | None, password: str | None) -> int:
    from control_plane.ldap.client import LdapClient, ServersAway, tls_context
    from control_plane.ldap.service import assertion_of

    def note(step: str) -> None:
        sys.stdout.write(f"  {step}\n")

    client = LdapClient(config, tls_context(config.ca_file))
    deadline = monotonic() + config.timeout_s
    try:
        if name is None or password is None:
            outcome = client.look(name, deadline, note)
        else:
            outcome = client.login(name, password, deadline, note)
    except ServersAway:
        sys.stdout.write("No server could be used: logins would be answered 503.\n")
        return 1
    if name is None:
        sys.stdout.write("The server can be used; --user NAME goes on.\n")
        return 0
    if outcome.why or outcome.entry is None:
        sys.stdout.write(f"{name} could not log in: {outcome.why}\n")
        return 1
    said = assertion_of(config, outcome.entry, outcome)
    roles = roles_of(said.groups, settings.ldap_roles)
    note(f"address {said.email or 'none'}, name {said.name or 'none'}")
    for role in roles:
        note(f"role {role.role} in project {role.project}, environment {role.environment}")
    if any(role.project != ANYWHERE for role in roles):
        note("whether there are these projects and environments only the control plane knows: a")
        note("role where there is none gives nothing, and its log warns of it at the start")
    if not roles or not said.email:
        lack = "an address" if roles else "a group with a role in MATRIXFLAG_LDAP_ROLES"
        sys.stdout.write(f"{name} could not log in: lacks {lack}\n")
        return 1
    proof = "if the password is right" if password is None else "with this password"
    sys.stdout.write(f"{name} can log in {proof}, unless the account here says otherwise.\n")
    return 0

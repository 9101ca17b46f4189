"""Real LDAP servers for tests: Debian's `slapd`, with people as OpenLDAP and as Active Directory
have them.

Each listens on free ports of the loopback, plain and by TLS. Below `dc=example,dc=com` people have
`uid`, `mail` and `entryUUID`, and only who is logged in may search; below `dc=corp,dc=example` they
have the attributes of Active Directory, taught by a schema, `memberOf`, and are seen by everybody.
The nested search of Active Directory (1.2.840.113556.1.4.1941) is not to be had from slapd.
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import ldap3

from tests.support.certificates import Authority, Certificate
from tests.support.ports import free_port
from tests.support.tools import missing

__all__ = [
    "ADA_GUID",
    "BASE",
    "CORP",
    "LDAP_PASSWORD",
    "SEARCH_PASSWORD",
    "SEARCHER",
    "Slapd",
    "slapd_binary",
]

BASE, CORP = "dc=example,dc=com", "dc=corp,dc=example"
LDAP_PASSWORD = "correct horse in LDAP"
SEARCHER, SEARCH_PASSWORD = f"cn=matrix,ou=services,{BASE}", "who searches, has this"
ADA_GUID = uuid.UUID("0f4f3d5e-6a55-4d5c-9a36-2f9f6d1c1f10")

_ROOT, _ROOT_PASSWORD = "cn=root", "root of tests"
_START_S = 20.0

_SCHEMA = """
attributetype ( 1.3.6.1.4.1.32473.1.1 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.32473.1.2 NAME 'userPrincipalName' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.32473.1.3 NAME 'objectGUID' EQUALITY octetStringMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 SINGLE-VALUE )
attributetype ( 1.3.6.1.4.1.32473.1.4 NAME 'userAccountControl' EQUALITY integerMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.32473.2.1 NAME 'adUser' SUP top AUXILIARY
  MAY ( sAMAccountName $ userPrincipalName $ objectGUID $ userAccountControl ) )
"""

_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
include {directory}/ad.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {directory}/slapd.pid
sizelimit size.soft=1000 size.hard=1000 size.pr=500 size.prtotal=unlimited
TLSCACertificateFile {authority}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
{options}

database mdb
suffix "dc=example,dc=com"
rootdn "cn=root,dc=example,dc=com"
rootpw "root of tests"
directory {directory}/example
dbnosync
index objectClass,uid,mail,member eq
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none

database mdb
suffix "dc=corp,dc=example"
rootdn "cn=root,dc=corp,dc=example"
rootpw "root of tests"
directory {directory}/corp
dbnosync
access to attrs=userPassword by anonymous auth by * none
access to * by * read
overlay memberof
memberof-group-oc groupOfNames
"""


def slapd_binary() -> str:
    """Return the path of slapd, which is outside of the PATH of most users; without it the test is
    skipped, in CI fails. It is never asked for its version: it would start."""
    found = shutil.which("slapd") or shutil.which("slapd", path="/usr/sbin:/usr/local/libexec")
    return found or missing("slapd")


class Slapd:
    """A server with its people. A context manager."""

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        certificate: Certificate | None = None,
        options: str = "",
    ) -> None:
        self._binary = slapd_binary()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = free_port(), free_port()
        self.url = f"ldap://127.0.0.1:{self._ports[0]}"
        self.tls_url = f"ldaps://127.0.0.1:{self._ports[1]}"
        self.ca = authority.path
        held = certificate or authority.issue("127.0.0.1", "localhost")
        for name in ("example", "corp"):
            (directory / name).mkdir(parents=True)
        (directory / "ad.schema").write_text(_SCHEMA)
        (directory / "slapd.conf").write_text(
            _CONFIG.format(
                directory=directory,
                authority=authority.path,
                certificate=held.path,
                key=held.key,
                options=options,
            )
        )

    def start(self) -> None:
        """Start it, and return when it answers."""
        log = (self._directory / "slapd.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    *(self._binary, "-f", self._directory / "slapd.conf", "-d", "none"),
                    *("-h", f"{self.url}/ {self.tls_url}/"),
                ],
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _START_S
        while True:
            try:
                for port in self._ports:
                    socket.create_connection(("127.0.0.1", port), 5).close()
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    text = (self._directory / "slapd.log").read_text()[-2000:]
                    raise RuntimeError(f"slapd did not start\n{text}") from error
                time.sleep(0.01)  # a starting process has no event to wait for
            else:
                return

    def root(self, base: str) -> ldap3.Connection:
        """Return a connection of who may do everything below a base."""
        server = ldap3.Server(self.url, get_info=ldap3.NONE)
        return ldap3.Connection(
            server, f"{_ROOT},{base}", _ROOT_PASSWORD, auto_bind=True, raise_exceptions=True
        )

    def add(self, dn: str, classes: str, **attributes: object) -> None:
        """Add an entry."""
        base = BASE if dn.endswith(BASE) else CORP
        with self.root(base) as root:
            root.add(dn, classes.split(), attributes)

    def delete(self, dn: str) -> None:
        """Delete an entry."""
        with self.root(BASE if dn.endswith(BASE) else CORP) as root:
            root.delete(dn)

    def change(self, dn: str, **attributes: list[str]) -> None:
        """Give an entry other values; an empty list takes an attribute away."""
        with self.root(BASE if dn.endswith(BASE) else CORP) as root:
            root.modify(
                dn, {key: [(ldap3.MODIFY_REPLACE, value)] for key, value in attributes.items()}
            )

    def person(self, name: str, **attributes: object) -> str:
        """Add somebody as OpenLDAP has them, and return their name there."""
        dn = f"uid={name},ou=people,{BASE}"
        given = {
            "cn": name.title(),
            "sn": "x",
            "uid": name,
            "mail": f"{name}@example.com",
            "userPassword": LDAP_PASSWORD,
        }
        self.add(dn, "inetOrgPerson", **{**given, **attributes})
        return dn

    def group(self, name: str, *members: str) -> str:
        """Add a group of entries, and return its name."""
        dn = f"cn={name},ou=groups,{BASE}"
        self.add(dn, "groupOfNames", cn=name, member=list(members))
        return dn

    def populate(self) -> None:
        """Add everybody: Ada is of flag-admins, Bob of none, Carol of a group in a group."""
        self.add(BASE, "dcObject organization", dc="example", o="x")
        for unit in ("people", "groups", "services", "old"):
            self.add(f"ou={unit},{BASE}", "organizationalUnit", ou=unit)
        self.add(
            SEARCHER,
            "applicationProcess simpleSecurityObject",
            cn="matrix",
            userPassword=SEARCH_PASSWORD,
        )
        ada, bob, carol = (self.person(name) for name in ("ada", "bob", "carol"))
        self.person("twin", mail="same@example.com")
        self.person("other", mail="same@example.com")
        self.group("flag-admins", ada)
        devs = self.group("devs", carol)
        self.group("shop-team", self.group("shop-devs", devs))
        self.add(
            f"cn=by-login,ou=groups,{BASE}", "posixGroup", cn="x", gidNumber="1", memberUid="ada"
        )
        self.add(
            f"cn=unique,ou=groups,{BASE}", "groupOfUniqueNames", cn="unique", uniqueMember=[ada]
        )
        self.add(f"cn=flag-admins,ou=old,{BASE}", "groupOfNames", cn="flag-admins", member=[bob])
        self.add(CORP, "dcObject organization", dc="corp", o="x")
        for name, number, control in (("ada", 0, "512"), ("gone", 1, "514")):
            self.add(
                f"cn={name.title()} L\\2C,{CORP}",
                "inetOrgPerson adUser",
                sn="x",
                displayName=f"{name.title()} L",
                mail=f"{name}@corp.example",
                sAMAccountName=name,
                userPrincipalName=f"{name}@corp.example",
                objectGUID=uuid.UUID(int=ADA_GUID.int + number).bytes_le,
                userAccountControl=control,
                userPassword=LDAP_PASSWORD,
            )
        self.add(
            f"cn=Flag Admins,{CORP}",
            "groupOfNames",
            cn="Flag Admins",
            member=f"cn=Ada L\\2C,{CORP}",
        )

    @property
    def pid(self) -> int:
        """The process id; raises AssertionError while it does not run."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """Stop it answering while connections stay open, and new ones are taken."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> "Slapd":
        self.start()
        with contextlib.ExitStack() as stack:
            stack.callback(self.kill)
            self.populate()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        self.kill()

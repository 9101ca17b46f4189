"""One login at an LDAP server, from the connection to the groups, in the thread that calls it.

    connect -> TLS -> log in to search -> find one entry -> log in as it -> who am I -> groups

- Nothing but the password decides: it is sent to the entry that was found, once, on one server, and
  that server must say afterwards that it knows somebody. An empty password is never sent: to many
  servers it is a greeting of nobody (RFC 4513, 5.1.2), and they answer success.
- Whoever is not found costs the same number of answers: somebody who is not there is tried.
- All of it ends by one deadline, whatever the server sends how slowly; of several servers each has
  its share of what is left. What was read is bounded.
- Certificates are checked by OpenSSL, with the name that was asked for. The library's own check,
  and its time-outs, which end with StartTLS, are not used; it follows no referrals.
- Nothing here logs or raises a password: errors are made of the codes of servers.
"""

import contextlib
import re
import secrets
import socket
import ssl
import uuid
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any, NamedTuple

from ldap3 import BASE, NONE, SUBTREE, SYNC, Connection, Tls
from ldap3 import Server as Address
from ldap3.core.exceptions import LDAPExceptionError

from control_plane.ldap.model import (
    MAX_NAME_CHARS,
    NAME,
    LdapConfig,
    Server,
    filled,
    filled_dn,
    first_value,
    group_names,
    is_below,
    plain_dn,
    plain_name,
    values_for,
)

__all__ = ["Entry", "LdapClient", "Outcome", "ServersAway", "tls_context"]

_MAX_BYTES = 4 * 1024 * 1024  # of one login; a person of 2,000 groups is a tenth of it
_MAX_PASSWORD_BYTES = 1_024
_MAX_GROUPS = 2_000
_MAX_DEPTH = 10
_GROUPS_AT_ONCE = 50  # in one filter
_PAGE = 500  # Active Directory gives 1,000 at most
_SUCCESS, _SIZE_LIMIT, _REFERRAL = 0, 4, 10
_WRONG = {
    19: "the account is locked",
    32: "there is no such name",
    34: "there is no such name",
    48: "the account cannot log in with a password",
    49: "wrong password",
    50: "the account cannot log in",
    53: "the server will not let the account log in",
}
"""What a refused login means, by result code (RFC 4511); others are the server's trouble."""
_ACTIVE_DIRECTORY = {
    "525": "there is no such name",
    "52e": "wrong password",
    "530": "not at this time of day",
    "531": "not from here",
    "532": "the password has expired",
    "533": "the account is disabled there",
    "701": "the account has expired",
    "773": "the password has to be changed",
    "775": "the account is locked",
}


class ServersAway(Exception):
    """No server answered as it should; the text says of each why, and holds no secret."""


class _Trouble(Exception):
    """A server that cannot be used: the next one is asked."""


class Entry(NamedTuple):
    """Somebody as a server knows them. Attributes are in lower case; `subject` is for ever."""

    dn: str
    subject: str
    attributes: dict[str, list[str]]


class Outcome(NamedTuple):
    """What a login came to: without `why` the password was right. `groups` as roles have them."""

    why: str
    entry: Entry | None = None
    groups: tuple[str, ...] = ()


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return what servers are believed by: the machine's authorities, or those of a file alone.

    Raises:
        OSError, ssl.SSLError: the file cannot be read, or holds none.
    """
    return ssl.create_default_context(cafile=ca_file)


class LdapClient:
    """Asks servers. Any thread may call it; each call has a connection of its own."""

    def __init__(self, config: LdapConfig, context: ssl.SSLContext) -> None:
        self._config = config
        self._context = context
        self._values = values_for(config.user_filter)
        self._first = 0  # of the servers, the one that answered last
        self._open: set[Connection] = set()
        self._is_closed = False

    def login(
        self,
        name: str,
        password: str,
        deadline: float,
        note: Callable[[str], None] = lambda step: None,
    ) -> Outcome:
        """Return whether a password is somebody's. `deadline` is of `time.monotonic`; `note` is
        told each step.

        Raises:
            ServersAway.
        """
        name = plain_name(name)
        secret = password.encode("utf-8", "ignore")
        if (
            secret.decode() != password
            or not secret
            or b"\x00" in secret
            or len(secret) > _MAX_PASSWORD_BYTES
        ):
            return Outcome("no password that could be one")
        if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
            return Outcome("no name that could be one")
        return self._anywhere(deadline, lambda talk: self._login(talk, name, secret), note)

    def close(self) -> None:
        """Cut all connections, so that no thread waits for a server that hangs."""
        self._is_closed = True
        for connection in list(self._open):
            _cut(connection)

    def look(self, name: str | None, deadline: float, note: Callable[[str], None]) -> Outcome:
        """Return what can be seen of somebody without their password, or of nobody; `note` is told
        each step. Raises ServersAway.
        """
        return self._anywhere(deadline, lambda talk: self._look(talk, name), note)

    def _look(self, talk: "_Talk", name: str | None) -> Outcome:
        talk.bind_to_search()
        for base in dict.fromkeys((self._config.base_dn, self._config.group_base_dn)):
            if base:
                talk.check_exists(base)
        if name is None:
            return Outcome("nobody was looked for")
        entry = self._found(talk, plain_name(name))
        return (
            entry if isinstance(entry, Outcome) else Outcome("", entry, self._groups(talk, entry))
        )

    def _anywhere(
        self,
        deadline: float,
        work: Callable[["_Talk"], Outcome],
        note: Callable[[str], None],
    ) -> Outcome:
        """Return what the first server says that can be used, beginning with that of last time."""
        servers, first = self._config.servers, self._first
        troubles = []
        for tried in range(len(servers)):
            number = (first + tried) % len(servers)
            server = servers[number]
            left = deadline - monotonic()
            if left <= 0 or self._is_closed:
                troubles.append(f"{server}: no time was left")
                break
            until = monotonic() + left / (len(servers) - tried)
            try:
                with self._talking(server, until, note) as talk:
                    outcome = work(talk)
            except _Trouble as error:
                troubles.append(f"{server}: {error}")
                note(f"{server}: {error}")
                continue
            self._first = number
            return outcome
        raise ServersAway("; ".join(troubles))

    @contextlib.contextmanager
    def _talking(
        self, server: Server, deadline: float, note: Callable[[str], None]
    ) -> Iterator["_Talk"]:
        """Yield a connection to a server, by TLS where there is to be TLS; raises _Trouble."""
        config = self._config
        with _troubles():
            address = Address(
                server.host,
                port=server.port,
                use_ssl=server.is_tls,
                get_info=NONE,
                tls=_Verified(self._context, server.host, deadline),
                connect_timeout=_left(deadline),
            )
            connection = Connection(
                address,
                client_strategy=SYNC,
                auto_referrals=False,
                auto_escape=False,
                auto_encode=False,
                check_names=False,
                read_only=True,
            )
        self._open.add(connection)
        try:
            with _troubles():
                connection.open(read_server_info=False)
                note(f"{server}: connected")
                if server.is_tls:
                    note("TLS, certificate and name are good")
                else:
                    connection.socket = _BoundedSocket(connection.socket, deadline)
                    if config.start_tls:
                        connection.start_tls(read_server_info=False)
                        note("StartTLS, certificate and name are good")
            yield _Talk(config, connection, note)
        finally:
            self._open.discard(connection)
            _hang_up(connection)

    # The steps

    def _login(self, talk: "_Talk", name: str, secret: bytes) -> Outcome:
        config = self._config
        if config.bind_as:
            why = talk.bind(filled_dn(config.bind_as, name), secret)
            if why:
                return Outcome(why)
            entry = self._found(talk, name)
            if isinstance(entry, Outcome):
                return entry
        else:
            talk.bind_to_search()
            entry = self._found(talk, name)
            if isinstance(entry, Outcome):
                # as many answers as for somebody who is there
                talk.bind(
                    f"cn={secrets.token_hex(8)},{config.base_dn}", secrets.token_hex(8).encode()
                )
                return entry
            why = talk.bind(entry.dn, secret)
            if why:
                return Outcome(why, entry)
        if talk.is_nobody():
            return Outcome("the server took the password for nobody's, and said success", entry)
        if not config.bind_as:
            talk.bind_to_search()
        return Outcome("", entry, self._groups(talk, entry))

    def _found(self, talk: "_Talk", name: str) -> Entry | Outcome:
        """Return the one entry of a name, or why there is none."""
        config = self._config
        wanted = {
            *(config.id_attribute, config.login_attribute, config.member_of_attribute),
            *(*config.email_attributes, *config.name_attributes, *self._values),
        } - {""}
        filter_ = filled(config.user_filter, {"name": name})
        raw = talk.search(config.base_dn, filter_, sorted(wanted), at_most=2)
        talk.note(f"{len(raw)} found by {filter_} below {config.base_dn}")
        if not raw:
            return Outcome("unknown")
        if len(raw) > 1:
            return Outcome("several people have this name there")
        dn, values = raw[0]
        attributes = {key: [_text(each) for each in found] for key, found in values.items()}
        if not dn or not self._is_called(attributes, name):
            return Outcome("unknown")
        subject = _subject(config.id_attribute, values.get(config.id_attribute.lower(), []))
        if not subject:
            raise _Trouble(f"{dn} has no {config.id_attribute}: MATRIXFLAG_LDAP_ID_ATTRIBUTE")
        talk.note(f"it is {dn}, {config.id_attribute} {subject}")
        return Entry(dn, subject, attributes)

    def _is_called(self, attributes: dict[str, list[str]], name: str) -> bool:
        """Return whether an entry is found by a name for what we hold equal too."""
        return any(
            plain_name(value) == plain_name(form.replace(NAME, name))
            for attribute, forms in self._values.items()
            for value in attributes.get(attribute, ())
            for form in forms
        )

    def _groups(self, talk: "_Talk", entry: Entry) -> tuple[str, ...]:
        config = self._config
        base = config.group_base_dn or config.base_dn
        login = first_value(entry.attributes, (config.login_attribute,))
        if config.member_of_attribute:
            found = entry.attributes.get(config.member_of_attribute.lower(), [])
        else:
            found = self._groups_of(talk, base, [entry.dn], login)
        known = {plain: dn for dn in found if (plain := _plain(dn))}
        new = list(known.values())
        for _ in range(_MAX_DEPTH if config.nested_groups else 0):
            above: list[str] = []
            for start in range(0, len(new), _GROUPS_AT_ONCE):
                above += self._groups_of(talk, base, new[start : start + _GROUPS_AT_ONCE], "")
            new = [dn for dn in above if (plain := _plain(dn)) and plain not in known]
            known |= {_plain(dn): dn for dn in new}
            if not new or len(known) > _MAX_GROUPS:
                break
        if len(known) > _MAX_GROUPS:
            raise _Trouble(f"{entry.dn} is in more than {_MAX_GROUPS} groups")
        held = [dn for dn in known.values() if is_below(dn, base)]
        talk.note(f"{len(held)} groups below {base}: {'; '.join(held)[:2000] or 'none'}")
        return tuple(dict.fromkeys(name for dn in held for name in group_names(dn)))

    def _groups_of(self, talk: "_Talk", base: str, members: list[str], login: str) -> list[str]:
        """Return the groups that entries are members of, by the names of these."""
        # a value that no entry has, where there is no login: an empty one may be an error
        each = [
            filled(self._config.group_filter, {"dn": dn, "login": login or secrets.token_hex(16)})
            for dn in members
        ]
        wanted = each[0] if len(each) == 1 else f"(|{''.join(each)})"
        return [dn for dn, _ in talk.search(base, wanted, ["1.1"], at_most=_MAX_GROUPS + 1)]


class _Talk:
    """What is said on one connection. Whatever goes wrong is _Trouble."""

    def __init__(
        self, config: LdapConfig, connection: Connection, note: Callable[[str], None]
    ) -> None:
        self._config = config
        self._connection = connection
        self.note = note

    def bind_to_search(self) -> None:
        """Log in as who may search, or as nobody."""
        config = self._config
        if not config.bind_dn:
            self._bind("", b"", "ANONYMOUS")
        else:
            self._bind(config.bind_dn, config.bind_password.encode(), "SIMPLE")
        result = self._connection.result
        if result["result"] != _SUCCESS:
            who = config.bind_dn or "nobody"
            raise _Trouble(f"does not let {who} log in to search: {_said(result)}")
        self.note(f"logged in to search as {config.bind_dn or 'nobody'}")

    def bind(self, dn: str, secret: bytes) -> str:
        """Log in as somebody, and return why not, empty when it was right."""
        if not dn or not secret:
            raise _Trouble("a login without a name or a password is never sent")
        self._bind(dn, secret, "SIMPLE")
        result = self._connection.result
        code = result["result"]
        if code == _SUCCESS:
            self.note(f"logged in as {dn}")
            return ""
        if code not in _WRONG:
            raise _Trouble(f"does not tell whether a password is right: {_said(result)}")
        detail = re.search(r"\bdata ([0-9a-f]{3})\b", result.get("message") or "")
        why = _ACTIVE_DIRECTORY.get(detail[1], "") if detail else ""
        self.note(f"not logged in as {dn}: {_said(result)}")
        return why or _WRONG[code]

    def is_nobody(self) -> bool:
        """Return whether the server says that nobody is logged in (RFC 4532), if it says it."""
        with _troubles():
            who = self._connection.extend.standard.who_am_i()
        result = self._connection.result
        self.note(f"the server says who that is: {_said(result)}, {who!r}"[:300])
        return result["result"] == _SUCCESS and not who

    def search(
        self, base: str, filter_: str, attributes: list[str], at_most: int
    ) -> list[tuple[str, dict[str, list[bytes]]]]:
        """Return names and attributes of entries, `at_most` and one page more."""
        found: list[tuple[str, dict[str, list[bytes]]]] = []
        cookie: bytes | None = None
        while True:
            is_paged = at_most > _PAGE
            with _troubles():
                self._connection.search(
                    search_base=base,
                    search_filter=filter_,
                    search_scope=SUBTREE,
                    attributes=attributes,
                    size_limit=0 if is_paged else at_most,
                    time_limit=max(1, round(self._config.timeout_s)),
                    paged_size=_PAGE if is_paged else None,
                    paged_cookie=cookie,
                )
            result = self._connection.result
            # whoever is in more groups than a server gives would lack roles, and nobody knew why
            allowed = {_SUCCESS} if is_paged else {_SUCCESS, _SIZE_LIMIT}
            if result["result"] not in allowed:
                what = "referral" if result["result"] == _REFERRAL else _said(result)
                raise _Trouble(f"does not search below {base}: {what}")
            for each in self._connection.response or ():
                if each["type"] == "searchResEntry":  # others are referrals, which nobody follows
                    raw = each["raw_attributes"].items()
                    found.append((each["dn"], {key.lower(): list(value) for key, value in raw}))
            controls = result.get("controls") or {}
            page = controls.get("1.2.840.113556.1.4.319") or {}
            cookie = (page.get("value") or {}).get("cookie") or None
            if cookie is None or len(found) >= at_most:
                return found

    def check_exists(self, base: str) -> None:
        """Raise _Trouble unless there is an entry of a name that can be seen."""
        with _troubles():
            self._connection.search(base, "(objectClass=*)", BASE, attributes=["1.1"])
        result = self._connection.result
        if result["result"] != _SUCCESS or not self._connection.response:
            raise _Trouble(f"shows no {base}: {_said(result)}")
        self.note(f"there is {base}")

    def _bind(self, dn: str, secret: bytes, kind: str) -> None:
        connection = self._connection
        # bytes in UTF-8 go as they are; texts the library prepares as other clients do not
        connection.user, connection.password = dn, secret
        connection.authentication = kind
        try:
            with _troubles():
                connection.bind(read_server_info=False)
        finally:
            connection.password = None
            connection.request = None


class _BoundedSocket:
    """A socket that ends by a deadline, and reads no more than it may."""

    def __init__(self, inner: socket.socket, deadline: float) -> None:
        self.inner = inner
        self._deadline = deadline
        self._left = _MAX_BYTES

    def recv(self, count: int) -> bytes:
        self.inner.settimeout(_left(self._deadline))
        data = self.inner.recv(count)
        self._left -= len(data)
        if self._left < 0:
            raise OSError(f"answers more than {_MAX_BYTES} bytes")
        return data

    def sendall(self, data: bytes) -> None:
        self.inner.settimeout(_left(self._deadline))
        self.inner.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _Verified(Tls):
    """TLS as Python does it by default: the chain, the time and the name are checked."""

    def __init__(self, context: ssl.SSLContext, host: str, deadline: float) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context
        self._host = host
        self._deadline = deadline

    def wrap_socket(self, connection: Connection, do_handshake: bool = False) -> None:
        """Put TLS on a connection."""
        plain = connection.socket
        if isinstance(plain, _BoundedSocket):
            plain = plain.inner
        plain.settimeout(_left(self._deadline))
        wrapped = self._context.wrap_socket(
            plain, do_handshake_on_connect=False, server_hostname=self._host
        )
        connection.socket = _BoundedSocket(wrapped, self._deadline)  # so that it can be cut
        wrapped.do_handshake()


def _cut(connection: Connection) -> None:
    """End a connection in the middle of whatever another thread does with it."""
    sock = connection.socket
    plain = sock.inner if isinstance(sock, _BoundedSocket) else sock
    if plain is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(plain, socket.SHUT_RDWR)  # TLS's own would change its state


def _hang_up(connection: Connection) -> None:
    with contextlib.suppress(LDAPExceptionError, OSError, AttributeError):
        connection.unbind()
    sock = connection.socket
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.close()


@contextlib.contextmanager
def _troubles() -> Iterator[None]:
    """Make _Trouble of whatever a server does that a client does not like.

    The library decodes what servers send with code that raises anything.
    """
    try:
        yield
    except _Trouble:
        raise
    except TimeoutError:
        raise _Trouble("does not answer in time") from None
    except Exception as error:
        raise _Trouble(_sentence(error)) from None


_IN_TUPLE = re.compile(r"""\(["'](.*)["'],\)""")


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).replace("\\'", "'").split())[:300]
    while wrapped := _IN_TUPLE.fullmatch(text):  # as the library hands on what it caught
        text = wrapped[1]
    if "CERTIFICATE_VERIFY_FAILED" in text:
        verify = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return f"its certificate is not good: {verify or text}"
    if "[SSL: " in text:
        why = text.partition("] ")[2].partition(" (_ssl")[0]
        return f"TLS came to nothing, as at a port that speaks LDAP without it: {why or text}"
    if "timed out" in text:
        return "does not answer in time"
    return text or type(error).__name__


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _said(result: Any) -> str:
    """Return what a server answered, for people who run it."""
    message = " ".join(str(result.get("message") or "").split())[:200]
    return f"{result['description']} ({result['result']})" + (f", {message}" if message else "")


def _plain(dn: str) -> str:
    try:
        return plain_dn(dn)
    except ValueError:
        return ""


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _subject(attribute: str, values: Iterable[bytes]) -> str:
    """Return what a server calls somebody for ever, empty when it is no text that could be."""
    found = list(values)
    if len(found) != 1:
        return ""
    if attribute.lower() == "objectguid" and len(found[0]) == 16:
        return str(uuid.UUID(bytes_le=found[0]))
    text = found[0].decode("utf-8", "replace").strip()
    return text if text.isprintable() and "\ufffd" not in text and len(text) <= 255 else ""

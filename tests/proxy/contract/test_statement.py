"""What is signed of a header: all of it, in one way only, as docs/wire-format.md shows."""

import base64
import re
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.digest import SnapshotDigest
from proxy.contract.snapshot import Signature, SnapshotHeader
from proxy.contract.statement import NotStatable, key_id, statement

PAGE = (Path(__file__).parents[3] / "docs" / "wire-format.md").read_text()

HEADER = SnapshotHeader("1.2", "shop", "production", "e1", 7, "d" * 64, 3, "2026-12-01T09:00:00Z")


def example(name: str) -> str:
    """Return the block of the page after a mark."""
    found = re.search(rf"<!-- {name} -->\n```\w*\n(.*?\n)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_worked_example_of_the_page_is_right() -> None:
    """Verified with the public key alone, as somebody else would who has read only the page."""
    header = msgspec.json.decode(example("signed"), type=SnapshotHeader)
    assert statement(header).decode() == example("statement")
    assert header.digest == SnapshotDigest().hexdigest()
    public = dict(line.split("=") for line in example("keys").split())["MATRIXFLAG_VERIFY_KEYS"]
    raw = base64.urlsafe_b64decode(public.removeprefix("mf_verify_") + "=")
    (signature,) = header.signatures
    assert signature.key_id == key_id(raw)
    key = Ed25519PublicKey.from_public_bytes(raw)
    key.verify(base64.b64decode(signature.signature), example("statement").encode())


ANOTHER = {
    "schema": "1.3",
    "project": "shop2",
    "environment": "staging",
    "epoch": "e2",
    "revision": 8,
    "digest": "e" * 64,
    "entries": 4,
    "created_at": "2026-12-01T09:00:01Z",
    "max_age_s": 60,
}


def test_every_member_of_a_header_is_signed_but_the_signatures() -> None:
    """A member that is added has to be thought of here."""
    fields = {field.name for field in msgspec.structs.fields(SnapshotHeader)}
    assert fields == {*ANOTHER, "signatures"}
    for name, value in ANOTHER.items():
        assert statement(msgspec.structs.replace(HEADER, **{name: value})) != statement(HEADER)
    signed = msgspec.structs.replace(HEADER, signatures=(Signature("k", "s"),))
    assert statement(signed) == statement(HEADER)


@pytest.mark.parametrize(
    "bad", ["a\nrevision 9", "a b", "ä", "\x7f", "\0", "a\r", "x" * 201, "\ud800"]
)
@pytest.mark.parametrize(
    "member", ["schema", "project", "environment", "epoch", "digest", "created_at"]
)
def test_a_value_that_could_make_a_line_of_itself_has_no_statement(member: str, bad: str) -> None:
    """Else one signature would be good for two headers."""
    with pytest.raises(NotStatable, match=member):
        statement(msgspec.structs.replace(HEADER, **{member: bad}))


texts = st.text(st.sampled_from("a b\n1none"), max_size=4)
headers = st.builds(
    SnapshotHeader,
    *(texts, texts, texts, texts, st.integers(0, 3), texts, st.integers(0, 3), texts),
    max_age_s=st.none() | st.integers(1, 3),
)


@given(headers, headers)
def test_two_headers_never_have_one_statement(one: SnapshotHeader, other: SnapshotHeader) -> None:
    """Whatever is in them."""
    try:
        same = statement(one) == statement(other)
    except NotStatable:
        return
    assert same == (one == other)

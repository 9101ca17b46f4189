"""Shape problems have a pointer and a code."""

import msgspec
import pytest

from proxy.contract.decode import decode
from proxy.contract.definitions import FlagDefinition

GOOD = b'{"type":"boolean","variants":{"on":true},"fallthrough":{"variant":"on"},"salt":"s"}'


def test_a_good_document_is_decoded() -> None:
    """From bytes or from a part of a larger document."""
    for data in (GOOD, msgspec.Raw(GOOD)):
        value, problems = decode(data, FlagDefinition)
        assert value is not None
        assert value.salt == "s"
        assert problems == []


@pytest.mark.parametrize(
    ("data", "where", "code"),
    [
        (b"", "", "malformed_json"),
        (b"{", "", "malformed_json"),
        (b'{"type":"\xff"}', "/type", "malformed_json"),
        (b"[]", "", "wrong_type"),
        (b"{}", "", "missing_field"),
        (GOOD[:-1] + b',"odd":1}', "", "unknown_field"),
        (GOOD.replace(b'"s"', b"5"), "/salt", "wrong_type"),
        (GOOD.replace(b"boolean", b"colour"), "/type", "wrong_type"),
        (GOOD.replace(b'{"variant":"on"}', b"{}"), "/fallthrough", "not_one_of"),
        (
            GOOD[:-1] + b',"rules":[{"when":{"all":[]},"serve":{"variant":"on"}},'
            b'{"when":{"all":[{"attribute":"x"}]},"serve":{"variant":"on"}}]}',
            "/rules/1/when/all/0",
            "not_one_of",
        ),
        (b'{"variants":{"on":' + b"[" * 100_000, "", "too_deep"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(data: bytes, where: str, code: str) -> None:
    """As precisely as the decoder knows."""
    value, [problem] = decode(data, FlagDefinition)
    assert value is None
    assert problem.code == code
    assert problem.pointer in {where, ""}
    assert problem.message

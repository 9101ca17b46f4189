"""Words that cross the wire are fixed."""

from enum import StrEnum

import pytest

from proxy.contract.codes import ErrorCode, KeyKind, ProblemCode, Reason, Severity


def test_reasons_are_those_that_clients_know() -> None:
    """The Python provider looks them up in an enum and fails on any other."""
    known = {"STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "DISABLED", "CACHED", "STALE"}
    assert set(Reason) <= known | {"UNKNOWN", "ERROR"}


def test_error_codes_are_those_of_ofrep() -> None:
    """TYPE_MISMATCH is a provider's, never a server's."""
    assert set(ErrorCode) == {
        "FLAG_NOT_FOUND", "PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL"
    }  # fmt: skip


@pytest.mark.parametrize("words", [ProblemCode, KeyKind, Severity])
def test_our_own_words_are_lower_case(words: type[StrEnum]) -> None:
    """And say what their name says."""
    assert all(word.value == word.name.lower() for word in words)

"""Secrets in other systems' files: where they are found, and what is only called like one."""

import copy
from typing import Any

import pytest

from proxy.contract.confidential import without_secrets

FLAG = {"rules": [{"condition": {"token": "x", "apiKey": "y"}}], "variations": {"secret": "a"}}


@pytest.mark.parametrize(
    ("document", "places"),
    [
        (
            {"sdkKey": "s", "environment": {"apiKey": "s", "id": 1}, "flags": {}},
            ["/sdkKey", "/environment/apiKey"],
        ),
        (
            {"environments": {"items": [{"key": "a", "api_key": "s", "mobile-key": "s"}]}},
            ["/environments/items/0/api_key", "/environments/items/0/mobile-key"],
        ),
        (
            {"items": [{"key": "f", "environments": {"prod": {"apiKey": "s", "on": True}}}]},
            ["/items/0/environments/prod/apiKey"],
        ),
        ({"data": {"clientSideId": "s", "flags": {}}}, ["/data/clientSideId"]),
        ({"features": [{"name": "a", "token": "s"}]}, ["/features/0/token"]),
        ({"flags": {"a/b": {**FLAG, "secret": "s"}}}, ["/flags/a~1b/secret"]),
        ({"a-flag": {"environmentKey": "s"}}, ["/a-flag/environmentKey"]),
        (
            {"hashSecureAttributes": True, "secureAttributeSalt": "s", "decryptionKey": "s"},
            ["/secureAttributeSalt", "/decryptionKey"],
        ),
    ],
)
def test_secrets_are_left_out_and_told(document: dict[str, Any], places: list[str]) -> None:
    """By their places; what is given is not changed."""
    before = copy.deepcopy(document)
    made, problems = without_secrets(document)
    assert sorted(problem.pointer for problem in problems) == sorted(places)
    assert {str(problem.severity) for problem in problems} == {"warning"}
    assert document == before
    assert '"s"' not in repr(made).replace("'", '"')


@pytest.mark.parametrize(
    "document",
    [
        {"flags": {"token": FLAG, "secret": FLAG}},
        {"features": {"apiKey": FLAG}},
        {"password": FLAG, "settings": FLAG},
        {"metadata": {"token": "answered"}, "flags": {"a": {"metadata": {"token": "answered"}}}},
        {"items": [{"key": "f", "environments": {"prod": {"salt": "s", "key": "k"}}}]},
        {"token": 1, "sdkKey": None, "environment": "production"},
        [{"token": {}}],
        None,
        7,
        "token",
    ],
)
def test_what_is_no_secret_stays(document: Any) -> None:
    """Flags, attributes, variants and answers may be called as they like."""
    assert without_secrets(document) == (document, [])


def test_nesting_without_end_is_no_matter() -> None:
    """It is looked at as deep as exports are."""
    deep: Any = {"sdkKey": "s"}
    for _ in range(5_000):
        deep = {"data": deep}
    made, problems = without_secrets(deep)
    assert problems == []
    assert list(made) == ["data"]

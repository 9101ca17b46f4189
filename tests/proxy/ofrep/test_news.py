"""What versions of the flags are called, and which of two is newer."""

import json

import msgspec
import pytest

from proxy.contract.snapshot import FILE_EPOCH
from proxy.ofrep.auth import Scope
from proxy.ofrep.news import is_newer, news
from proxy.ofrep.views import Slice, Views
from tests.proxy.ofrep.server import DEFINITIONS, ON_OFF, flag
from tests.proxy.ofrep.test_views import make_views

STARTS_MS = 1_796_200_000_000


def named(views: Views, **header: object) -> Views:
    """Return the same flags under another header."""
    return Views(views.compiled, msgspec.structs.replace(views.header, **header))


def test_an_event_is_one_line_of_each_field() -> None:
    """Whatever a project is called: no name of ours reaches a client."""
    views = named(make_views(DEFINITIONS), project="a\n\ndata: b", environment="\ud83d")
    told = news(views, Scope.ALL, 0)
    id_line, name_line, data_line, *end = told.event.split(b"\n")
    assert id_line == b"id: " + told.name.encode()
    assert name_line == b"event: message"
    data = json.loads(data_line.removeprefix(b"data: "))
    assert data["type"] == "refetchEvaluation"
    assert data["etag"] == f'"{told.name}"'
    assert end == [b"", b""]
    assert told.mark == id_line + b"\n\n"


def test_a_name_is_of_the_content_the_scope_and_the_epoch() -> None:
    """The same everywhere for the same, and never for anything else."""
    views = make_views(DEFINITIONS)
    name = news(views, Scope.ALL, 0).name
    assert news(make_views(DEFINITIONS), Scope.ALL, 0).name == name
    others = [
        news(views, Scope.CLIENT, 0),
        news(named(views, epoch="another"), Scope.ALL, 0),
        news(named(views, environment="another"), Scope.ALL, 0),
        news(named(views, revision=views.header.revision + 1), Scope.ALL, 0),
        news(named(views, digest="0" * 64), Scope.ALL, 0),
    ]
    assert len({name, *(each.name for each in others)}) == 6


def test_time_makes_a_new_name_when_it_changes_an_answer() -> None:
    """And tells when it did."""
    active = {"from": "2026-12-02T08:26:40Z"}
    rule = {"id": "r", "when": {"attribute": "a", "op": "exists"}, "serve": {"variant": "on"}}
    timed = flag("boolean", ON_OFF, "off", rules=[{**rule, "active": active}])
    views = make_views({"timed": timed, "text": DEFINITIONS["text"]})
    before, after = (news(views, Scope.ALL, STARTS_MS + ms) for ms in (-1, 0))
    assert before.slice == Slice(None, STARTS_MS)
    assert after.slice == Slice(STARTS_MS, None)
    assert before.name != after.name
    data = json.loads(after.event.split(b"data: ")[1])
    assert data["lastModified"] == STARTS_MS // 1000
    assert news(views, Scope.CLIENT, 0).name == news(views, Scope.CLIENT, STARTS_MS).name


def test_what_is_newer_than_what() -> None:
    """By the revision within an epoch; another epoch may be on its way; a file's are no order."""
    views = make_views(DEFINITIONS)
    header = views.header
    present = news(views, Scope.ALL, 0).name
    later = news(named(views, revision=header.revision + 1), Scope.ALL, 0).name
    other = news(named(views, epoch="another"), Scope.ALL, 0).name
    assert [is_newer(name, header) for name in (present, later, other)] == [False, True, True]
    assert is_newer(f'"{later}"', header)
    older = msgspec.structs.replace(header, revision=header.revision + 2)
    assert not is_newer(later, older)
    file = msgspec.structs.replace(header, epoch=FILE_EPOCH)
    assert not is_newer(news(named(views, epoch=FILE_EPOCH, revision=9), Scope.ALL, 0).name, file)
    assert not is_newer(later, file)


@pytest.mark.parametrize("text", ["", '"', "1-2-3", "٣-00000000-" + "0" * 32, "\ud83d"])
def test_any_other_text_is_of_nothing(text: str) -> None:
    """It is no reason to wait."""
    assert not is_newer(text, make_views(DEFINITIONS).header)

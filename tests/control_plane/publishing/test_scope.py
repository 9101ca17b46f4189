"""What a manager of some environments may change, told apart in small steps."""

import msgspec
import pytest
from msgspec import UNSET

from control_plane.audit.model import Author
from control_plane.environments.model import Environment, EnvironmentRecord, Project, ProjectRecord
from control_plane.errors import Forbidden
from control_plane.publishing.scope import check_scope, outside
from control_plane.publishing.state import (
    Change,
    Edit,
    ProjectState,
    RecordKind,
    Step,
    encode_record,
)
from proxy.contract.definitions import EnvironmentConfig, Flag, Serve
from proxy.contract.steps import finish
from tests.support.definitions import AT, ENVIRONMENTS, changed, flag, flag_record

OWN = Author("service:k", "192.0.2.1", environments=frozenset({"staging"}))
MEMBERS = len(Flag.__struct_fields__)


def config() -> EnvironmentConfig:
    """Return a configuration that is another than `flag` has."""
    return EnvironmentConfig(Serve(variant="a"), salt="another")


def with_flags(count: int) -> ProjectState:
    """Return a project with so many flags."""
    environments = [
        (RecordKind.ENVIRONMENT, key, EnvironmentRecord(Environment(key), 1, AT, AT))
        for key in ENVIRONMENTS
    ]
    flags = [(RecordKind.FLAG, f"f{n}", flag_record(f"f{n}")) for n in range(count)]
    records = [(kind, key, encode_record(record)) for kind, key, record in [*environments, *flags]]
    step = Step(1, "head", {})
    return finish(ProjectState.load(ProjectRecord(Project("default"), AT), "e", step, records))


@pytest.mark.parametrize(
    ("after", "place"),
    [
        (flag("f"), None),
        (changed(flag("f"), environments={**flag("f").environments, "staging": config()}), None),
        (
            changed(flag("f"), environments={**flag("f").environments, "production": config()}),
            "/environments/production",
        ),
        (changed(flag("f"), environments={}), "/environments/development"),
        (
            changed(flag("f"), environments={**flag("f").environments, "a": config()}),
            "/environments/a",
        ),
        (flag("f", value="y"), "/variants"),
        (flag("f", expires="2027-01-01"), "/expires"),
        (flag("f", archived=True), "/archived"),
    ],
)
def test_what_others_share_is_outside(after: Flag, place: str | None) -> None:
    """Judged by what differs; one's own environment may be as it likes."""
    assert finish(outside(flag("f"), after, ["staging"])) == place
    assert finish(outside(after, flag("f"), ["staging"])) == place


@pytest.mark.parametrize("member", ["variants", "metadata"])
def test_a_number_is_another_when_its_text_is(member: str) -> None:
    """1, 1.0 and true are equal to Python, and not to who reads them."""
    flags = [msgspec.structs.replace(flag("f"), **{member: {"a": v}}) for v in (1, 1.0, True)]
    for one in flags:
        for other in flags:
            expected = None if one is other else f"/{member}"
            assert finish(outside(one, other, ["staging"])) == expected


def test_what_is_not_set_is_not_null() -> None:
    """And is nothing that fails."""
    assert finish(outside(flag("f"), flag("f", expires=UNSET), [])) is None


def test_a_step_is_one_member_of_one_flag() -> None:
    """However many flags a change has, and however large the one: the loop goes on in between."""
    state = with_flags(50)
    edits = [
        Edit(RecordKind.FLAG, key, flag_record(key, 2, tags=["t" * 1000])) for key in state.flags
    ]
    allowed = [
        Edit(RecordKind.FLAG, key, changed(record, version=2))
        for key, record in state.flags.items()
    ]
    steps = sum(1 for _ in check_scope(state, Change("import", OWN, AT, tuple(allowed))))
    assert steps >= 50 * MEMBERS
    with pytest.raises(Forbidden, match="/tags of flag 'f0'"):
        finish(check_scope(state, Change("import", OWN, AT, tuple(edits))))
    new = Edit(RecordKind.FLAG, "new", flag_record("new"))
    with pytest.raises(Forbidden, match="all environments share"):
        finish(check_scope(state, Change("import", OWN, AT, (*allowed, new))))

"""The use cases of projects and environments: list, create, and promote a flag's configuration.

A new environment gets a configuration of every flag that production has one of, in one step with
its own record: no moment shows half of it.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from control_plane.audit.model import Author
from control_plane.documents import Precondition, invalid, merge_patch
from control_plane.environments.model import (
    CopyInput,
    Environment,
    EnvironmentInput,
    EnvironmentRecord,
    EnvironmentResource,
    Project,
    ProjectInput,
    ProjectRecord,
    ProjectResource,
    check_name,
)
from control_plane.errors import Conflict
from control_plane.flags.authoring import Draft, copied_config, merge_config
from control_plane.flags.model import Written
from control_plane.flags.service import (
    FlagService,
    check_environment,
    find_flag,
    new_salt,
    new_salts,
)
from control_plane.networks import check_networks, in_one_form, permits
from control_plane.publishing.replica import Replica
from control_plane.publishing.slices import run_in_slices
from control_plane.publishing.state import Change, Edit, FlagRecord, ProjectState, RecordKind
from control_plane.times import now_rfc3339
from proxy.contract.codes import ProblemCode
from proxy.contract.definitions import EnvironmentConfig, Flag, Rule, Serve
from proxy.contract.problems import Problem

__all__ = ["MAX_ENVIRONMENTS", "MAX_PROJECTS", "EnvironmentService"]

MAX_PROJECTS = 1_000
"""Projects of one control plane; each is a stream that every replica follows."""

MAX_ENVIRONMENTS = 50
"""Environments of a project; each is a snapshot in memory, and a line more for every change."""

_PRODUCTION = "production"


class EnvironmentService:
    """The projects, and the environments of each."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def projects(
        self, sees: Callable[[str], bool], after: str | None, limit: int
    ) -> tuple[list[ProjectResource], str | None]:
        """Return projects that the caller sees, in the order of their keys; where a page ends."""
        states = self._replica.projects
        wanted = sorted(n for n in states if (after is None or n > after) and sees(n))
        items = [_project(states[name]) for name in wanted[:limit]]
        return items, wanted[limit - 1] if len(wanted) > limit else None

    def get_project(self, name: str) -> ProjectResource:
        """Return a project; raises NotFound."""
        return _project(self._replica.project(name))

    async def create_project(self, document: Project, author: Author) -> ProjectResource:
        """Create a project with the default environments; raises Invalid, Conflict."""
        problems = check_name(document.key) + _network_problems(document)
        if problems:
            raise invalid(problems)
        document = _in_one_form(document)
        if len(self._replica.projects) >= MAX_PROJECTS:
            raise Conflict(f"{MAX_PROJECTS} projects are all there can be", code="too_many")
        return _project(await self._replica.create_project(document, author))

    async def replace_project(
        self,
        name: str,
        document: ProjectInput,
        author: Author,
        precondition: Callable[[ProjectResource], None],
        *,
        stays_in: bool,
    ) -> ProjectResource:
        """Replace what a project is called, and the networks that it is managed from.

        `stays_in` has it checked that other networks let the author in.

        Raises:
            NotFound, PreconditionFailed; Invalid: with all problems, or it would get another key;
            Conflict: `lockout`.
        """
        return await self._change_project(
            name, "project.replace", author, precondition, lambda _before: document, stays_in
        )

    async def patch_project(
        self,
        name: str,
        changes: Mapping[str, Any],
        decode: Callable[[bytes], ProjectInput],
        author: Author,
        precondition: Callable[[ProjectResource], None],
        *,
        stays_in: bool,
    ) -> ProjectResource:
        """Apply a merge patch; raises as `replace_project`, and what `decode` raises."""

        def merged(before: Project) -> ProjectInput:
            return decode(merge_patch(before, changes))

        return await self._change_project(
            name, "project.patch", author, precondition, merged, stays_in
        )

    async def _change_project(
        self,
        name: str,
        action: str,
        author: Author,
        precondition: Callable[[ProjectResource], None],
        change: Callable[[Project], ProjectInput],
        stays_in: bool,
    ) -> ProjectResource:
        def build(state: ProjectState) -> Change:
            precondition(_project(state))
            record = state.record
            wanted = change(record.project)
            changed = Project(
                name,
                wanted.name,
                wanted.description,
                wanted.allowed_networks,
                wanted.denied_networks,
            )
            problems = _network_problems(changed)
            if wanted.key not in (UNSET, name):
                message = f"key is {name!r} and cannot become {wanted.key[:80]!r}"
                problems.append(Problem("/key", ProblemCode.READ_ONLY, message))
            if problems:
                raise invalid(problems)
            changed = _in_one_form(changed)
            now = now_rfc3339()
            if changed == record.project:
                return Change(action, author, now)
            if stays_in and _networks(changed) != _networks(record.project):
                _check_lets_in(changed, author.address)
            made = ProjectRecord(changed, record.created_at, record.version + 1, now)
            return Change(action, author, now, (Edit(RecordKind.PROJECT, name, made),))

        await self._replica.commit(name, build)
        return self.get_project(name)

    def page(
        self, project: str, after: str | None, limit: int
    ) -> tuple[list[EnvironmentResource], str | None]:
        """Return environments in the order of their keys, and where the next page starts."""
        state = self._replica.project(project)
        wanted = sorted(key for key in state.environments if after is None or key > after)
        items = [_environment(state, key) for key in wanted[:limit]]
        return items, wanted[limit - 1] if len(wanted) > limit else None

    def get(self, project: str, key: str) -> EnvironmentResource:
        """Return an environment; raises NotFound."""
        state = self._replica.project(project)
        check_environment(state, key)
        return _environment(state, key)

    async def create(
        self, project: str, document: Environment, author: Author
    ) -> EnvironmentResource:
        """Create an environment that serves what production falls through to, disabled.

        Raises:
            Invalid: with all problems; Conflict: there is one of that key.
        """
        problems = check_name(document.key)
        if problems:
            raise invalid(problems)

        def build(state: ProjectState) -> Change:
            if document.key in state.environments:
                raise Conflict(
                    f"there is an environment {document.key!r}", code="environment_exists"
                )
            if len(state.environments) >= MAX_ENVIRONMENTS:
                raise Conflict(
                    f"{MAX_ENVIRONMENTS} environments are all a project can have", code="too_many"
                )
            edits = [Edit(RecordKind.ENVIRONMENT, document.key, made)]
            for key, record in state.flags.items():
                before, copied = copies.get(key, (None, None))
                if before is not record:  # it changed since, so that there is little to do again
                    copied = _copied_to(document.key, record, now, new_salt)
                if copied is not None:
                    edits.append(Edit(RecordKind.FLAG, key, copied))
            return Change("environment.create", author, now, tuple(edits))

        now = now_rfc3339()
        made = EnvironmentRecord(document, 1, now, now)
        flags = list(self._replica.project(project).flags.values())
        copies = await run_in_slices(_copies(document.key, flags, now))
        await self._replica.commit(project, build)
        return self.get(project, document.key)

    async def replace(
        self,
        project: str,
        key: str,
        document: EnvironmentInput,
        author: Author,
        precondition: Callable[[EnvironmentResource], None],
    ) -> EnvironmentResource:
        """Replace what an environment is called and how old its flags may get.

        Another maximum age is published at once, as a revision of the same content.

        Raises:
            NotFound, PreconditionFailed; Invalid: it would get another key.
        """
        return await self._change(
            project, key, "environment.replace", author, precondition, lambda _before: document
        )

    async def patch(
        self,
        project: str,
        key: str,
        changes: Mapping[str, Any],
        decode: Callable[[bytes], EnvironmentInput],
        author: Author,
        precondition: Callable[[EnvironmentResource], None],
    ) -> EnvironmentResource:
        """Apply a merge patch; raises as `replace`, and what `decode` raises."""

        def merged(before: Environment) -> EnvironmentInput:
            return decode(merge_patch(before, changes))

        return await self._change(project, key, "environment.patch", author, precondition, merged)

    async def _change(
        self,
        project: str,
        key: str,
        action: str,
        author: Author,
        precondition: Callable[[EnvironmentResource], None],
        change: Callable[[Environment], EnvironmentInput],
    ) -> EnvironmentResource:
        def build(state: ProjectState) -> Change:
            check_environment(state, key)
            precondition(_environment(state, key))
            record = state.environments[key]
            wanted = change(record.environment)
            if wanted.key not in (UNSET, key):
                message = f"key is {key!r} and cannot become {wanted.key[:80]!r}"
                raise invalid([Problem("/key", ProblemCode.READ_ONLY, message)])
            changed = Environment(key, wanted.name, wanted.description, wanted.max_age_s)
            now = now_rfc3339()
            if changed == record.environment:
                return Change(action, author, now)
            made = EnvironmentRecord(changed, record.version + 1, record.created_at, now)
            return Change(action, author, now, (Edit(RecordKind.ENVIRONMENT, key, made),))

        await self._replica.commit(project, build)
        return self.get(project, key)

    async def copy(
        self,
        project: str,
        environment: str,
        document: CopyInput,
        author: Author,
        precondition: Precondition,
        *,
        rebucket: bool,
    ) -> Written:
        """Make a flag's configuration in one environment that of another, but for the salt.

        Raises:
            NotFound: the flag or an environment; Invalid: not exactly one other environment;
            PreconditionFailed; Conflict: the flag is not configured in the source, `rebucketing`.
        """
        source, target = _ends(environment, document)

        def build(state: ProjectState, now_ms: int) -> tuple[Draft, FlagRecord]:
            for name in (source, target):
                check_environment(state, name)
            record = find_flag(state, document.flag)
            precondition(record.version)
            copied = record.flag.environments.get(source)
            if copied is None:
                raise Conflict(
                    f"flag {document.flag!r} is not configured in {source!r}",
                    code="not_configured",
                )
            before = record.flag.environments.get(target)
            config = merge_config(before, _without_own(copied), new_salt, now_ms)
            return Draft(_configured(record.flag, target, config)), record

        return await FlagService(self._replica).write(
            project, target, "flag.copy", author, build, rebucket=rebucket
        )


def _copies(
    environment: str, flags: list[FlagRecord], now: str
) -> Generator[None, None, dict[str, tuple[FlagRecord, FlagRecord | None]]]:
    """Return each flag with what it becomes in a new environment, yielding between them."""
    salts = new_salts(len(flags))
    copies = {}
    for record in flags:
        copied = _copied_to(environment, record, now, salts.__next__)
        copies[record.flag.key] = record, copied
        yield
    return copies


def _copied_to(
    environment: str, record: FlagRecord, now: str, salt: Callable[[], str]
) -> FlagRecord | None:
    """Return a flag configured in a new environment, or None if production has nothing to copy."""
    source = record.flag.environments.get(_PRODUCTION)
    if source is None:
        return None
    flag = _configured(record.flag, environment, copied_config(source, salt))
    return FlagRecord(flag, record.version + 1, record.created_at, now)


def _networks(project: Project) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return project.allowed_networks, project.denied_networks


def _network_problems(project: Project) -> list[Problem]:
    return [
        *check_networks(project.allowed_networks, "allowed_networks"),
        *check_networks(project.denied_networks, "denied_networks"),
    ]


def _in_one_form(project: Project) -> Project:
    allowed, denied = map(in_one_form, _networks(project))
    return msgspec.structs.replace(project, allowed_networks=allowed, denied_networks=denied)


def _check_lets_in(project: Project, address: str) -> None:
    if not permits(*_networks(project), address):
        raise Conflict(
            f"with these networks you would not be let in from {address} any more; say force=true "
            "when that is meant",
            code="lockout",
        )


def _project(state: ProjectState) -> ProjectResource:
    record = state.record
    return ProjectResource(
        key=state.name,
        name=record.project.name,
        description=record.project.description,
        allowed_networks=record.project.allowed_networks,
        denied_networks=record.project.denied_networks,
        version=record.version,
        created_at=record.created_at,
        updated_at=record.updated_at or record.created_at,
        environments=sorted(state.environments),
        flags=len(state.flags),
        segments=len(state.segments),
    )


def _environment(state: ProjectState, key: str) -> EnvironmentResource:
    record, snapshot = state.environments[key], state.snapshots[key]
    return EnvironmentResource(
        key=key,
        name=record.environment.name,
        description=record.environment.description,
        max_age_s=record.environment.max_age_s,
        version=record.version,
        created_at=record.created_at,
        updated_at=record.updated_at,
        epoch=snapshot.epoch,
        revision=snapshot.revision,
        digest=snapshot.digest,
        entries=snapshot.entries(),
        snapshot_bytes=snapshot.size,
    )


def _ends(environment: str, document: CopyInput) -> tuple[str, str]:
    """Return the environments copied from and to: one is the path's, the other the body's."""
    if (document.to is None) == (document.from_ is None):
        message = "exactly one of from, to is needed"
        hint = "`to` copies out of the environment in the path, `from` into it"
        raise invalid([Problem("", ProblemCode.NOT_ONE_OF, message, hint)])
    if document.to is not None:
        return environment, document.to
    return document.from_ or "", environment


def _configured(flag: Flag, environment: str, config: EnvironmentConfig) -> Flag:
    return msgspec.structs.replace(flag, environments={**flag.environments, environment: config})


def _without_own(config: EnvironmentConfig) -> EnvironmentConfig:
    """Return a configuration without what belongs to its environment: salt and ranges.

    Ranges say which buckets had a variant there; in the target as few as can be shall move.
    """
    rules: list[Rule] = [
        msgspec.structs.replace(rule, serve=_without_ranges(rule.serve)) for rule in config.rules
    ]
    return msgspec.structs.replace(
        config,
        salt=msgspec.UNSET,
        rules=rules,
        fallthrough=_without_ranges(config.fallthrough),
    )


def _without_ranges(serve: Serve) -> Serve:
    if isinstance(serve.rollout, msgspec.UnsetType):
        return serve
    arms = [msgspec.structs.replace(arm, ranges=msgspec.UNSET) for arm in serve.rollout.arms]
    return Serve(rollout=msgspec.structs.replace(serve.rollout, arms=arms))

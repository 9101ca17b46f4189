"""Whether there is what a role names: a project, an environment of it.

A role in a project that there is not gives nothing and says nothing; somebody made a person `admin`
of `shpo` and wonders why they may not enter. So roles that are given over the API name what there
is. Those of groups in the settings may name what is made later, and are only warned of: they are
read before any project is, and a start must not fail because a pipeline makes projects afterwards.

What somebody holds already is not asked about again, or a person could not be changed any more.
"""

from collections.abc import Collection, Iterable

from control_plane.access.roles import ANYWHERE, Binding
from control_plane.errors import Unavailable
from control_plane.publishing.replica import Replica
from control_plane.publishing.slices import run_in_slices
from control_plane.store.connection import RedisError
from proxy.contract.codes import ProblemCode
from proxy.contract.problems import Problem, pointer
from proxy.engine import nearest_keys

__all__ = ["Places"]


class Places:
    """The projects and environments that roles may name."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def problems(
        self, roles: Iterable[Binding], held: Collection[Binding] = ()
    ) -> list[Problem]:
        """Return what is named that there is not, on any replica, beyond what is held already.

        Raises:
            Unavailable: Redis does not tell, and nobody knows what another replica has made.
        """
        new = {number: each for number, each in enumerate(roles) if each not in held}
        unsure = {each.project for each in new.values() if self._lacks(each)}
        if unsure:
            await self._look_again(unsure)
        lacking = {number: each for number, each in new.items() if self._lacks(each)}
        return [await self._problem(number, each) for number, each in lacking.items()]

    def lacking(self, roles: Iterable[Binding]) -> list[str]:
        """Return what is named that there is not, as `project` or `project/environment`."""
        lacking = dict.fromkeys(each for each in roles if self._lacks(each))
        return [
            each.project if each.environment == ANYWHERE else f"{each.project}/{each.environment}"
            for each in lacking
        ]

    def _lacks(self, binding: Binding) -> bool:
        if binding.project == ANYWHERE:
            return False
        state = self._replica.projects.get(binding.project)
        if state is None:
            return True
        return binding.environment not in (ANYWHERE, *state.environments)

    async def _look_again(self, projects: Iterable[str]) -> None:
        """Read what another replica may have made a moment ago."""
        try:
            positions = await self._replica.store.positions(sorted(projects))
        except RedisError:
            raise Unavailable("Redis does not answer", code="redis_unavailable") from None
        for project, position in positions.items():
            if position is not None:
                await self._replica.catch_up(project)

    async def _problem(self, number: int, binding: Binding) -> Problem:
        project, environment = binding.project, binding.environment
        hint = "make it first, then give roles there"
        state = self._replica.projects.get(project)
        what, name, known = "the project", project, [*self._replica.projects]
        if state is not None:
            what, name, known = "the environment", environment, [*state.environments]
        near = await run_in_slices(nearest_keys(name, known))
        if near:
            hint = f"did you mean {what} {' or '.join(near)}? Else {hint}"
        if environment == ANYWHERE:
            where = pointer("roles", number, "project")
            message = f"there is no project {project[:80]!r}"
            return Problem(where, ProblemCode.UNKNOWN_PROJECT, message, hint)
        where = pointer("roles", number, "environment")
        message = f"there is no environment {environment[:80]!r} in {project[:80]!r}"
        return Problem(where, ProblemCode.UNKNOWN_ENVIRONMENT, message, hint)

"""What flags need of each other: whom a change of one concerns, and which variants are named.

Whether prerequisites make sense is the engine's to say, also for those who have a flag as theirs.
It looks at the flags that it is given: here they are found, from the indexes of the state, so that
a write costs what is related to it and not what there is.
"""

from control_plane.publishing.state import Name, ProjectState, RecordKind
from proxy.contract.definitions import Flag

__all__ = ["needed_variants", "related_flags"]


def related_flags(state: ProjectState, flag: Flag) -> set[str]:
    """Return the flags that ask this one, directly or through others, and all that those ask.

    What this one asks is taken from `flag`, which is about to be written, and not from the state.
    To those who ask it a flag without prerequisites makes no difference as long as its variants
    stay, so they are left out then: ten thousand may ask one, which is switched on and off.
    """
    related = {flag.key}
    todo = [flag.key] if _concerns_users(state, flag) else []
    while todo:
        for user in state.users(RecordKind.FLAG, todo.pop()):
            if user.kind is RecordKind.FLAG and user.key not in related:
                related.add(user.key)
                todo.append(user.key)
    configs = flag.environments.values()
    todo = [*related, *(wanted.flag for config in configs for wanted in config.prerequisites)]
    related.update(todo)
    while todo:
        for kind, key in state.uses(Name(RecordKind.FLAG, todo.pop())):
            if kind is RecordKind.FLAG and key not in related:
                related.add(key)
                todo.append(key)
    return related


def _concerns_users(state: ProjectState, flag: Flag) -> bool:
    old = state.flags.get(flag.key)
    stays = old is not None and old.flag.variants.keys() <= flag.variants.keys()
    return not stays or any(config.prerequisites for config in flag.environments.values())


def needed_variants(state: ProjectState, key: str) -> frozenset[str]:
    """Return the variants of a flag that others' prerequisites name, in any environment."""
    users = (state.flags.get(user.key) for user in state.users(RecordKind.FLAG, key))
    return frozenset(
        variant
        for record in users
        if record is not None
        for config in record.flag.environments.values()
        for wanted in config.prerequisites
        if wanted.flag == key
        for variant in wanted.variants
    )

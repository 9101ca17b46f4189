"""The table of keys."""

from control_plane.store.keys import KEYS, PROJECTS, ProjectKeys


def test_every_name_that_is_made_has_a_row() -> None:
    """Type, lifetime and owner of everything are known."""
    keys = ProjectKeys("{P}".strip("{}"))
    made = {getattr(keys, name) for name in ProjectKeys.__slots__ if not name.startswith("_")}
    made |= {keys.flag_history("<key>"), PROJECTS}
    assert made <= {row.pattern for row in KEYS}
    assert all(all(row) for row in KEYS)

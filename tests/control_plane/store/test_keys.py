"""The table of keys."""

from control_plane.store.keys import (
    KEYS,
    PROJECTS,
    EventKeys,
    ProjectKeys,
    ReportKeys,
    UsageKeys,
    subjects_key,
)


def test_every_name_that_is_made_has_a_row() -> None:
    """Type, lifetime and owner of everything are known."""
    keys = ProjectKeys("{P}".strip("{}"))
    made = {getattr(keys, name) for name in ProjectKeys.__slots__ if not name.startswith("_")}
    made |= {keys.flag_history("<key>"), keys.refresh("<session>"), PROJECTS}
    of_all = ReportKeys("<kind>", "P", "E", 0)
    events = EventKeys("P", "E", 0)
    reports = {of_all.stream, of_all.totals, of_all.parked, events.kept, events.names}
    reports |= {of_all.seen(0), of_all.parked_seen(0), events.days("<id>")}
    reports.add(subjects_key("P", "E", 0))
    usage = UsageKeys("P", "E")
    made |= {usage.last, usage.part("<span>:<flag>:<part>")}
    made |= {name.replace("/0}", "/n}").replace(":0", ":<hour>") for name in reports}
    assert made <= {row.pattern for row in KEYS}
    assert all(all(row) for row in KEYS)

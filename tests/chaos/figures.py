"""What was measured: one line a figure, printed at the end of a run, for `docs/reliability.md`."""

__all__ = ["FIGURES", "note"]

FIGURES: dict[str, list[float]] = {}


def note(what: str, value: float) -> None:
    """Keep a figure of a fault, in seconds unless its name says otherwise."""
    FIGURES.setdefault(what, []).append(value)

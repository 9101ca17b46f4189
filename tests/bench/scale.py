"""How much is measured: enough for a figure, or just enough to see that everything works."""

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "Scale"]


@dataclass(frozen=True)
class Scale:
    """Sizes of every measurement. Times in seconds."""

    changes: int  # PUTs whose effect at the sidecar is awaited
    rounds: int  # turns that servers take under load
    round_s: float
    repeats: int  # turns that functions take in process
    compiled_flags: int
    sidecar_flags: int
    stored_flags: int
    reads: int
    writes: int
    starts: int
    units: int
    documents: int  # mutated ones, for each system whose definitions are read
    requests: int  # mutated ones, for the evaluation port
    streams: int
    sidecars: int  # that tell one control plane what they serve


FULL = Scale(
    200, 5, 3.0, 15, 10_000, 1_000, 10_000, 1_000, 500, 9, 1_000_000, 100_000, 100_000, 1_000, 5_000
)
QUICK = Scale(5, 1, 0.3, 2, 200, 50, 50, 20, 10, 2, 20_000, 200, 500, 20, 300)

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
    passes: int  # over the contexts of a function, in each turn
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
    followers: int  # streams of sidecars
    idle_s: float  # while nothing changes
    exposures: int  # sent over HTTP
    exposed: int  # units counted, of the largest subject


FULL = Scale(
    changes=200,
    rounds=5,
    round_s=3.0,
    repeats=15,
    passes=50,
    compiled_flags=10_000,
    sidecar_flags=1_000,
    stored_flags=10_000,
    reads=1_000,
    writes=500,
    starts=9,
    units=1_000_000,
    documents=100_000,
    requests=100_000,
    streams=1_000,
    sidecars=5_000,
    followers=10_000,
    idle_s=10.0,
    exposures=400_000,
    exposed=1_000_000,
)
QUICK = Scale(
    changes=5,
    rounds=1,
    round_s=0.3,
    repeats=2,
    passes=2,
    compiled_flags=200,
    sidecar_flags=50,
    stored_flags=50,
    reads=20,
    writes=10,
    starts=2,
    units=20_000,
    documents=200,
    requests=500,
    streams=20,
    sidecars=300,
    followers=50,
    idle_s=0.5,
    exposures=5_000,
    exposed=10_000,
)

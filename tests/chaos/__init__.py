"""The fault suite: what `docs/reliability.md` promises, with each failure injected for real.

lines       a connection that can be slowed, cut, or left half open
programs    our programs as processes: killed, frozen, restarted on the same address
world       Redis, control planes and sidecars, with a line between any two
evaluator   asks every sidecar all the while, and judges each answer
counting    the units that were shown something, beside those that Redis has
machines    a disk that is small, a clock that jumps
namespaces  a machine of its own for a program, with a network that loses packets
figures     what was measured: the table of `docs/reliability.md`

`make chaos` runs it long (`MATRIXFLAG_CHAOS=long`), `make test` short.
"""

"""The figures of docs/performance.md, measured here and now: `python -m tests.bench`.

Nothing is asserted about time, because a slow or busy machine is no defect. Each figure stands
beside its target; the exit status tells only whether everything worked.
"""

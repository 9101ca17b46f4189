"""What crosses a process boundary: definitions, snapshots, exposures, codes. Pure.

Imports nothing of the project; free of I/O, clocks, randomness and logging.
"""

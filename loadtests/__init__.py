"""Load on servers of flags; README.md says how to use it.

`run` lets locust work on a whole system and judges every answer; `answers`, `definitions` and
`locustfile` are its parts. `compare` measures servers against each other: `scenarios` and `formats`
are what they serve, which `flags` writes to a file; `apis` and `asking` how they are asked, `load`
and `turns` how they are measured, with `generator` and `requests.lua`; and `controls` what they are
divided by.
"""

"""Load generators. `python -m loadtests.run` starts what they need; README.md says the rest."""

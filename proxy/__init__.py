"""The sidecar: holds a snapshot in memory and answers evaluations on localhost.

`proxy.contract` and `proxy.engine` are pure and are what the control plane shares with it.
"""

DISTRIBUTION = "matrix-flag"
__version__ = "0.1.0"

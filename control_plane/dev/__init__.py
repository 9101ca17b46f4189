"""`matrixflag dev`: the whole product on one machine, with nothing installed but Python."""

from control_plane.dev.command import COMMAND

__all__ = ["COMMAND"]

"""A control plane whose `ADMIN_TOKEN` opens everything, so that tests need nobody who logs in.

It is a mode of the product, `MATRIXFLAG_ADMIN_TOKEN_USE`, and not the default: what the token does
by default is tested in `tests/control_plane/users/test_first_administrator.py`.
"""

from control_plane.settings import EVERYTHING

__all__ = ["ADMINISTRATOR", "ADMIN_TOKEN"]

ADMIN_TOKEN = "an-administrators-token"
ADMINISTRATOR = {"ADMIN_TOKEN": ADMIN_TOKEN, "MATRIXFLAG_ADMIN_TOKEN_USE": EVERYTHING}
"""The settings, as variables."""

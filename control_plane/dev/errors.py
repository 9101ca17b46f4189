"""What stops `matrixflag dev`, said so that a person can go on."""

__all__ = ["DevError"]


class DevError(Exception):
    """`matrixflag dev` cannot start or go on; the text is for the terminal, as it stands."""

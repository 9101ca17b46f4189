"""Whether the ports are free, asked before anything is started, so that the answer names a flag."""

import errno
import os
import socket

from control_plane.dev.errors import DevError
from control_plane.dev.settings import DevSettings

__all__ = ["HOST", "check_ports"]

HOST = "127.0.0.1"


def check_ports(settings: DevSettings) -> None:
    """Return when all the ports can be listened on; 0 always can.

    Raises:
        DevError: naming all that cannot, and their flags.
    """
    wanted = {
        "--port": settings.port,
        "--metrics-port": settings.metrics_port,
        "--sidecar-port": settings.sidecar_port,
        "--admin-port": settings.admin_port,
    }
    refused = [
        f"port {port} {reason}: choose another with {flag} (0 takes any free one)"
        for flag, port in wanted.items()
        if port and (reason := _refusal(port))
    ]
    if refused:
        raise DevError("\nmatrixflag dev: ".join(refused))


def _refusal(port: int) -> str:
    """Return why a port cannot be listened on, or an empty string."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections that just ended must not count as "in use".
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is in use"
            return f"cannot be used ({os.strerror(error.errno or 0)})"
    return ""

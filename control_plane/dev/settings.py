"""Settings of `matrixflag dev`. They win over the same settings of the two processes it starts."""

from dataclasses import dataclass

from control_plane.settings import redis_address
from proxy.contract.parsers import port_number
from proxy.contract.settings import SettingsError, setting

__all__ = ["DevSettings"]


@dataclass(frozen=True)
class DevSettings:
    """What `matrixflag dev` can be told. Port 0 is any free one."""

    data_dir: str = setting(".matrixflag", "Directory for everything that is kept.")
    port: int = setting(8000, "Port of the control plane's API.", parse=port_number)
    metrics_port: int = setting(
        8001, "Port of the control plane's metrics.", parse=port_number, env="METRICS_PORT"
    )
    sidecar_port: int = setting(8016, "Port of the sidecar's OFREP.", parse=port_number)
    admin_port: int = setting(8014, "Port of the sidecar's metrics and status.", parse=port_number)
    redis_url: str = setting(
        "",
        "A Redis that runs already; an embedded server is started when absent.",
        parse=redis_address,
        env="REDIS_URL",
        secret=True,
        # On a machine of one's own, and for a server without a password, a flag is handy.
        flag=True,
    )

    def __post_init__(self) -> None:
        flags = {
            "--port": self.port,
            "--metrics-port": self.metrics_port,
            "--sidecar-port": self.sidecar_port,
            "--admin-port": self.admin_port,
        }
        problems = []
        taken: dict[int, str] = {}
        for flag, port in flags.items():
            if port and port in taken:
                problems.append(f"{flag}: {port} is given to {taken[port]} too")
            taken.setdefault(port, flag)
        if problems:
            raise SettingsError(problems)

"""Doctor: whether this machine can carry a lab, and a fix where not."""

from __future__ import annotations

from . import host, kernel
from .binaries import toolchain
from .binaries.cache import cache_home
from .binaries.components import go_modules
from .host import GIB, Examined

__all__ = ["Examined", "examine", "require"]

# What a cluster writes: etcd, logs, container file systems. Its images are hard links.
NODE_BYTES = GIB // 2


def examine(clusters: int = 2) -> tuple[Examined, ...]:
    """Examine everything that a lab of so many clusters needs of this machine.

    It takes a fraction of a second and leaves nothing behind.
    """
    home = cache_home()
    built = toolchain.cached() is not None
    disk = host.space({home: clusters * NODE_BYTES}) if built else host.disk(home, go_modules())
    return (
        host.root(),
        host.python(),
        host.architecture(),
        host.runc(),
        host.iptables(),
        host.programs(),
        Examined("go", True, "not needed, everything is built") if built else host.go(),
        *kernel.examine(home),
        host.memory(clusters),
        host.inotify(clusters),
        disk,
    )


def require(clusters: int) -> None:
    """Raise :class:`~pytest_istio_mc.errors.ProvisionError` with all that is missing, and fixes."""
    host.require(examine(clusters), f"cannot carry a lab of {clusters} clusters")

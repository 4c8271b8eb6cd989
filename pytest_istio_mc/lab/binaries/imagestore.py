"""The prepared containerd root: every image imported and unpacked once, for nodes to start from hard links of it."""

from __future__ import annotations

import filecmp
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...errors import ProvisionError
from ...eventually import eventually
from ..process import tail_of
from . import commands
from .cache import forget_scratch, note_scratch
from .oci import WrittenImage

READY_SECONDS = 60.0  # patience: a containerd without plugins answers within a second
ROOT = "containerd"  # the prepared root's name in a toolchain
SNAPSHOTTER = "overlayfs"
NAMESPACE = "k8s.io"  # where the kubelet's containerd looks for images

# What reaches out of its folders (/opt/containerd, /etc/nri, /etc/cdi …), or is there to run containers, which this containerd never does.
_DISABLED = (
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.grpc.v1.cri",
    "io.containerd.nri.v1.nri",
    "io.containerd.internal.v1.opt",
    "io.containerd.runtime.v2.task",
    "io.containerd.internal.v1.restart",
    "io.containerd.service.v1.tasks-service",
    "io.containerd.grpc.v1.tasks",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.erofs",
)


def prepare(
    build: Path, binaries: Path, archive: Path, images: Sequence[WrittenImage], logs: Path
) -> Path:
    """Import ``archive`` into a containerd root made in the folder ``build``, and return that root.

    The containerd that does it runs in a mount namespace of its own and ends before this returns, so that nothing is left running
    or mounted. Raises :class:`ProvisionError` where an image or its unpacked layers are not there in the end.
    """
    root = build / ROOT
    with _containerd(build, binaries, root, logs / "containerd.log") as ctr:
        imported = commands.run(
            [*ctr, "images", "import", "--snapshotter", SNAPSHOTTER, archive],
            log=logs / "import.log",
        )
        if imported.code != 0:
            full = imported.cause is commands.Cause.NO_SPACE
            raise ProvisionError(
                "prepared images",
                "could not be imported",
                f"exit code {imported.code}, containerd's log: {logs / 'containerd.log'}",
                advice="free some disk space"
                if full
                else "`istio-mc lab doctor` checks whether this file system can carry overlayfs",
                log_tail=(*imported.tail, *tail_of(logs / "containerd.log", 5)),
            )
        require_images(ctr, images)
    return root


def require_images(ctr: Sequence[str], images: Sequence[WrittenImage]) -> None:
    """Raise :class:`ProvisionError` unless the containerd behind ``ctr`` has every image, unpacked."""
    names = _output([*ctr, "images", "list", "-q"]).split()
    listed = _output([*ctr, "snapshots", "--snapshotter", SNAPSHOTTER, "list"])
    snapshots = {line.split()[0] for line in listed.splitlines() if line.strip()}
    for image in images:
        if image.name not in names:
            raise ProvisionError(
                f"image {image.name}",
                "was imported but is not there",
                f"there are: {', '.join(names) or 'none'}",
            )
        if image.chain_id not in snapshots:
            raise ProvisionError(
                f"image {image.name}",
                f"was not unpacked for {SNAPSHOTTER}",
                f"no snapshot {image.chain_id}",
            )


def share_programs(root: Path, binaries: Path) -> None:
    """Make the programs that are also in an image hard links to the unpacked ones: the same bytes need not be there twice."""
    for unpacked in root.glob(f"io.containerd.snapshotter.v1.{SNAPSHOTTER}/snapshots/*/fs/**/*"):
        program = binaries / unpacked.name
        if (
            unpacked.parent.name in ("fs", "bin")
            and program.is_file()
            and filecmp.cmp(unpacked, program, shallow=False)
        ):
            program.unlink()
            program.hardlink_to(unpacked)


@contextmanager
def _containerd(build: Path, binaries: Path, root: Path, log: Path) -> Iterator[list[str]]:
    """A containerd on ``root``; yields the ``ctr`` command that talks to it."""
    # A socket's path may have 107 characters at most (unix(7)), so it cannot lie in the cache, which may be anywhere.
    with tempfile.TemporaryDirectory(prefix="istio-mc-", dir="/tmp") as scratch:
        note_scratch(build, Path(scratch))
        socket = f"{scratch}/containerd.sock"
        configuration = Path(scratch, "config.toml")
        configuration.write_text(_configuration(root, Path(scratch, "state"), socket))
        command = [
            *commands.ends_with_parent(),
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--",
        ]
        command += [
            str(binaries / "containerd"),
            "--config",
            str(configuration),
            "--log-level",
            "warn",
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                env=os.environ | {"TMPDIR": scratch},
            )
        ctr = [str(binaries / "ctr"), "--address", socket, "--namespace", NAMESPACE]

        def state() -> str:
            if process.poll() is not None:
                return "ended"
            asked = commands.ask([*ctr, "--connect-timeout", "1s", "version"])
            return "ready" if asked.returncode == 0 else "starting"

        try:
            reached = eventually(
                state,
                lambda seen: seen != "starting",
                within_seconds=READY_SECONDS,
                what="containerd",
                every_seconds=0.05,
            )
            if reached.value == "ended":
                raise ProvisionError(
                    "containerd",
                    "ended at once while the images were being prepared",
                    f"exit code {process.returncode}",
                    advice="read the log lines; `istio-mc lab doctor` checks what this machine lacks",
                    log_tail=tail_of(log),
                )
            yield ctr
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    forget_scratch(build)


def _configuration(root: Path, state: Path, socket: str) -> str:
    def quoted(text: object) -> str:
        return json.dumps(str(text))

    return "\n".join(
        (
            "version = 3",
            f"root = {quoted(root)}",
            f"state = {quoted(state)}",
            "imports = []",
            f"disabled_plugins = [{', '.join(quoted(name) for name in _DISABLED)}]",
            "[grpc]",
            f"address = {quoted(socket)}",
            "",
        )
    )


def _output(command: Sequence[str]) -> str:
    asked = commands.ask(command)
    if asked.returncode != 0:
        raise ProvisionError(
            "prepared images", f"`{' '.join(command[-3:])}` failed", asked.stderr.strip()
        )
    return asked.stdout

"""The prepared containerd root: every image unpacked once, for nodes to hard-link."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
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
from .cache import SCRATCH_PARENT, SCRATCH_PREFIX, forget_scratch, note_scratch
from .oci import WrittenImage

READY_SECONDS = 60.0  # patience: a containerd without plugins answers within a second
ROOT = "containerd"  # the prepared root's name in a toolchain
SNAPSHOTTER = "overlayfs"
NAMESPACE = "k8s.io"  # where the kubelet's containerd looks for images

# These reach out of containerd's folders (/opt/containerd, /etc/nri, /etc/cdi …), or are there to
# run containers, which this containerd never does.
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
    """Import ``archive`` into the containerd root in the folder ``build``, new or copied.

    - Its containerd has its own mount namespace and ends before this returns: nothing is left
      running or mounted.
    - :class:`ProvisionError`: an image or its unpacked layers are not there in the end.
    """
    root, log = build / ROOT, logs / "containerd.log"
    with _containerd(build, binaries, root, log) as ctr:
        command = [*ctr, "images", "import", "--snapshotter", SNAPSHOTTER, str(archive)]
        imported = commands.run(command, log=logs / "import.log")
        if imported.code != 0:
            advice = "`istio-mc lab doctor` checks whether this file system can carry overlayfs"
            if imported.cause is commands.Cause.NO_SPACE:
                advice = "free some disk space"
            raise ProvisionError(
                "prepared images",
                "could not be imported",
                f"exit code {imported.code}, containerd's log: {log}",
                advice=advice,
                log_tail=(*imported.tail, *tail_of(log, 5)),
            )
        require_images(ctr, images)
    return root


def copy_root(prepared: Path, copy: Path) -> None:
    """Copy a prepared containerd root.

    Its layers never change and are hard-linked; its databases, which containerd writes to, are
    copied.
    """
    link = ["cp", "-al", str(prepared), str(copy)]
    subprocess.run(link, check=True, capture_output=True, text=True)
    for database in copy.rglob("*.db"):
        database.unlink()
        shutil.copy2(prepared / database.relative_to(copy), database)


def require_images(ctr: Sequence[str], images: Sequence[WrittenImage]) -> None:
    """Raise :class:`ProvisionError` unless the containerd of ``ctr`` has all images, unpacked."""
    names = _output([*ctr, "images", "list", "-q"]).split()
    listed = _output([*ctr, "snapshots", "--snapshotter", SNAPSHOTTER, "list"])
    snapshots = {line.split()[0] for line in listed.splitlines() if line.strip()}
    for image in images:
        thing = f"image {image.name}"
        if image.name not in names:
            detail = f"there are: {', '.join(names) or 'none'}"
            raise ProvisionError(thing, "was imported but is not there", detail)
        if image.chain_id not in snapshots:
            step = f"was not unpacked for {SNAPSHOTTER}"
            raise ProvisionError(thing, step, f"no snapshot {image.chain_id}")


def share_programs(root: Path, binaries: Path) -> None:
    """Make programs hard links to their unpacked copies in images."""
    for unpacked in root.glob(f"io.containerd.snapshotter.v1.{SNAPSHOTTER}/snapshots/*/fs/**/*"):
        program = binaries / unpacked.name
        if unpacked.parent.name not in ("fs", "bin") or not program.is_file():
            continue
        if filecmp.cmp(unpacked, program, shallow=False):
            program.unlink()
            program.hardlink_to(unpacked)


@contextmanager
def _containerd(build: Path, binaries: Path, root: Path, log: Path) -> Iterator[list[str]]:
    """A containerd on ``root``; yields the ``ctr`` command that talks to it."""
    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=SCRATCH_PARENT) as scratch:
        note_scratch(build, Path(scratch))
        socket = f"{scratch}/containerd.sock"
        configuration = Path(scratch, "config.toml")
        configuration.write_text(_configuration(root, Path(scratch, "state"), socket))
        command = [*commands.ends_with_parent(), "unshare", "--mount", "--propagation", "private"]
        command += ["--", str(binaries / "containerd"), "--config", str(configuration)]
        command += ["--log-level", "warn"]
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
                    advice="read the log lines; "
                    "`istio-mc lab doctor` checks what this machine lacks",
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

    return f"""version = 3
root = {quoted(root)}
state = {quoted(state)}
imports = []
disabled_plugins = [{", ".join(quoted(name) for name in _DISABLED)}]
[grpc]
address = {quoted(socket)}
"""


def _output(command: Sequence[str]) -> str:
    asked = commands.ask(command)
    if asked.returncode != 0:
        step = f"`{' '.join(command[-3:])}` failed"
        raise ProvisionError("prepared images", step, asked.stderr.strip())
    return asked.stdout

"""The replay provider: a recorded snapshot, no cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..mesh import Mesh
from ..progress import Progress
from ..settings import REPLAY

if TYPE_CHECKING:
    from ..snapshot import Snapshot
    from .provider import ProvisionRequest


class Replay:
    """``--mesh-replay``: a recorded snapshot, no cluster, no network."""

    name = REPLAY
    summary = "reads a recorded snapshot; no cluster, no network"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._snapshot: Snapshot | None = None

    @contextmanager
    def provide(self, request: ProvisionRequest, progress: Progress) -> Iterator[Mesh]:
        """The mesh that was recorded."""
        snapshot = self.record(None, progress)
        yield Mesh(
            spec=snapshot.spec,
            run_id=snapshot.run_id,
            provider=self.name,
            probe_image=snapshot.probes.image if snapshot.probes else "",
            versions={one.name: {"kubernetes": one.version} for one in snapshot if one.version},
            notes=(_origin(snapshot),),
            probes=snapshot.probes,
        )

    def record(self, mesh: Mesh | None, progress: Progress) -> Snapshot:
        """The recorded snapshot, read once."""
        from ..snapshot import Snapshot

        if self._snapshot is None:
            self._snapshot = Snapshot.load(self._folder)
        return self._snapshot


def _origin(snapshot: Snapshot) -> str:
    version = f", version {snapshot.recorded_by}" if snapshot.recorded_by else ""
    return f"read from a snapshot recorded at {snapshot.recorded_at} by run {snapshot.run_id}" + (
        f"{version} of this tool" if version else ""
    )

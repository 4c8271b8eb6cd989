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

    @contextmanager
    def provide(self, request: ProvisionRequest, progress: Progress) -> Iterator[Mesh]:
        """The mesh that was recorded."""
        snapshot = self.record(None, progress)
        yield Mesh(
            spec=snapshot.spec,
            run_id=snapshot.run_id,
            provider=self.name,
            probe_image=snapshot.probes.image if snapshot.probes else "",
            notes=(f"read from a snapshot recorded at {snapshot.recorded_at}",),
            probes=snapshot.probes,
        )

    def record(self, mesh: Mesh | None, progress: Progress) -> Snapshot:
        """The recorded snapshot."""
        from ..snapshot import Snapshot

        return Snapshot.load(self._folder)

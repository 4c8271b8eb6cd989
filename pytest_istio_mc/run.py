"""Run: what one pytest process knows of the certification that it takes part in, and what its tests recorded."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from .checks.catalogue import Check
from .errors import MeshError
from .eventually import Timeouts
from .mesh import Mesh
from .settings import Settings
from .verdicts import Verdict

if TYPE_CHECKING:
    from .kube import Kube
    from .snapshot import Snapshot

T = TypeVar("T")


@dataclass
class Run:
    """The certification of one mesh. The process that provisions fills in ``mesh`` and ``snapshot_folder``; workers are given them.

    ``scratch`` is a folder that all processes of the run share, for as long as it goes on.
    """

    settings: Settings
    checks: Mapping[str, Check]
    run_id: str
    mesh: Mesh | None = None
    snapshot_folder: Path | None = None
    no_probes: str = ""
    scratch: Path | None = None
    _snapshot: Snapshot | None = None

    def require_mesh(self) -> Mesh:
        """The mesh; :class:`MeshError` where none was provisioned, which means that this test was not seen to need one."""
        if self.mesh is None:
            raise MeshError("mesh", "was not provisioned", advice="mark the test with mesh_check, or use the mesh fixture in its arguments")
        return self.mesh

    def read_snapshot(self) -> Snapshot:
        """The snapshot of the mesh, read once a process."""
        from .snapshot import Snapshot

        self.require_mesh()
        if self._snapshot is None:
            assert self.snapshot_folder is not None
            self._snapshot = Snapshot.load(self.snapshot_folder)
        return self._snapshot

    def to_worker(self) -> dict[str, Any]:
        """What an xdist worker needs to attach, plain JSON."""
        return {
            "run_id": self.run_id,
            "mesh": self.mesh.to_dict() if self.mesh else None,
            "snapshot_folder": str(self.snapshot_folder) if self.snapshot_folder else None,
            "no_probes": self.no_probes,
        }

    def attach(self, document: Mapping[str, Any]) -> None:
        """Take over what :meth:`to_worker` of the controller wrote."""
        self.run_id = document["run_id"]
        self.mesh = Mesh.from_dict(document["mesh"]) if document["mesh"] else None
        self.snapshot_folder = Path(document["snapshot_folder"]) if document["snapshot_folder"] else None
        self.no_probes = document["no_probes"]
        if self.mesh:
            self.settings = replace(self.settings, spec=self.mesh.spec)


@dataclass
class Recorded:
    """What the test of one check recorded while it ran: its verdicts, and how long its waits took."""

    verdicts: list[Verdict] = field(default_factory=list)
    convergence: list[dict[str, Any]] = field(default_factory=list)


def once(run: Run, name: str, kind: type[T], observe: Callable[[], T]) -> T:
    """What ``observe`` gives, a dataclass; in all processes of a run it is called once, unless it fails.

    Only for the tests of checks that run alone: nobody else comes to it while the first one observes.
    """
    from .plain import from_plain, to_plain

    file = run.scratch / f"{name}.json" if run.scratch is not None else None
    if file is not None and file.exists():
        return from_plain(kind, json.loads(file.read_text()))
    seen = observe()
    if file is not None:
        file.write_text(json.dumps(to_plain(seen)))
    return seen


RUN: pytest.StashKey[Run] = pytest.StashKey()
"""The run, in the stash of pytest's config; absent where no mesh is certified."""

CHECK: pytest.StashKey[Check] = pytest.StashKey()
"""The check that a test judges, in the stash of the item."""

RECORDED: pytest.StashKey[Recorded] = pytest.StashKey()
"""What the test recorded, in the stash of the item."""


def new_run_id() -> str:
    """A short id that names everything that this run creates: eight hexadecimal digits."""
    return uuid.uuid4().hex[:8]


@contextmanager
def connected(mesh: Mesh, timeouts: Timeouts) -> Iterator[dict[str, Kube]]:
    """A connection to each cluster of the mesh, by cluster name; closed at the end."""
    from .kube import Kube

    with ExitStack() as stack:
        kubes = {
            cluster.name: Kube(cluster.name, mesh.spec.kubeconfig, cluster.context, request_timeout_seconds=timeouts.kube_request)
            for cluster in mesh.spec
        }
        for kube in kubes.values():
            stack.callback(kube.close)
        yield kubes

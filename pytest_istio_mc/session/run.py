"""Run: what one pytest process knows of the certification of one mesh."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

from ..checks import catalogue
from ..checks.catalogue import Check, Observe
from ..checks.site import Here
from ..errors import GivenUp, MeshError, NotAllowed
from ..eventually import eventually
from ..kube.connecting import connected
from ..mesh import Mesh
from ..settings import Settings
from ..verdicts import Verdict
from .observing import Observations

if TYPE_CHECKING:
    from ..faults import Faults
    from ..kube import Kube
    from ..observations import GatewayAddress
    from ..probes.traffic import Traffic
    from ..snapshot import Snapshot


TOPOLOGY = "mesh_topology"
"""The fixture, and parameter of every test on a mesh, that says which run it belongs to."""


@dataclass
class Run:
    """The certification of one mesh, in one process; a ``Site`` for observers.

    - The process that provisions fills in what it made, workers are told (:meth:`attach`).
    - ``folder`` is shared by all processes of the session, for as long as it goes on.
    - ``problem`` says why there is no mesh, where it could not be provisioned.
    - ``among_others``: the session certifies other topologies, too, so messages name this one.
    """

    settings: Settings
    run_id: str
    folder: Path
    among_others: bool = False
    mesh: Mesh | None = None
    snapshot_folder: Path | None = None
    no_probes: str = ""
    problem: str = ""
    _observations: Observations = field(init=False)
    _snapshot: Snapshot | None = None
    _open: ExitStack = field(default_factory=ExitStack)
    _kubes: dict[str, Kube] | None = None
    _traffic: Traffic | None = None
    _gateways: tuple[GatewayAddress, ...] | None = None
    _gone: MeshError | None = None
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._observations = Observations(len(self.settings.spec.data_planes))

    @property
    def topology(self) -> str:
        """The name of its topology."""
        return self.settings.topology

    @property
    def checks(self) -> Mapping[str, Check]:
        """Every known check, those of test modules collected by now included."""
        return catalogue.known_checks()

    def require_mesh(self) -> Mesh:
        """The mesh; :class:`MeshError` where this test was not seen to need one."""
        if self.mesh is None:
            raise MeshError(
                "mesh",
                "was not provisioned",
                advice="mark the test with mesh_check, or use the mesh fixture in its arguments",
            )
        return self.mesh

    @property
    def on_this_machine(self) -> bool:
        """Whether the clusters share the machine that runs the tests."""
        return self.mesh is not None and self.mesh.on_this_machine

    def read_snapshot(self) -> Snapshot:
        """The snapshot of the mesh, read once a process."""
        from ..snapshot import Snapshot

        self.require_mesh()
        if self._snapshot is None:
            assert self.snapshot_folder is not None
            self._snapshot = Snapshot.load(self.snapshot_folder, ours=True)
        return self._snapshot

    def kubes(self) -> Mapping[str, Kube]:
        """A connection to each cluster of the mesh, by cluster name, until :meth:`leave`.

        Where this run may not disrupt the mesh, they change nothing outside its own namespaces.
        """
        if self._kubes is None:
            self._kubes = self._open.enter_context(
                connected(self.require_mesh().spec, self.settings.timeouts)
            )
            if not self.may_disrupt:
                for kube in self._kubes.values():
                    kube.confine(lambda namespace: self.require_mesh().owns(namespace))
            self._pass_on()
        return self._kubes

    def traffic(self) -> Traffic:
        """The way to send from the mesh's client pods, until :meth:`leave`."""
        from ..probes.traffic import open_traffic

        if self._traffic is None:
            self._traffic = self._open.enter_context(
                open_traffic(self.require_mesh(), self.kubes(), self.settings.timeouts)
            )
            self._pass_on()
        return self._traffic

    @property
    def here(self) -> Here:
        """What judges may look at besides observations."""
        return Here(self.require_mesh(), self.read_snapshot(), self.settings.timeouts)

    @property
    def may_disrupt(self) -> bool:
        """Whether observers may touch more than namespaces of their own."""
        return self.settings.may_disrupt

    def faults(self) -> Faults:
        """What can be broken; contexts that heal, and are undone where this process is killed.

        Raises :class:`NotAllowed` where this run may not disrupt the mesh.
        """
        from ..faults import Faults

        if not self.may_disrupt:
            step = "are not broken by a run that may not disrupt the mesh"
            advice = "--mesh-disruptive allows it, --mesh-plan tells what is done to whom"
            raise NotAllowed(f"clusters of {self.topology}", step, advice=advice)
        return Faults(self.require_mesh(), self.kubes(), self.settings.timeouts)

    def gateways(self) -> tuple[GatewayAddress, ...]:
        """The addresses of the east-west gateways of all networks, as their Services have them."""
        from ..probes.paths import gateway_addresses

        with self._asking:
            if self._gateways is None:
                self._gateways = gateway_addresses(self.require_mesh().spec, self.kubes())
            return self._gateways

    def judge(self, check: Check) -> tuple[Verdict, float]:
        """The verdict of a check, and the seconds of observation before its test."""
        if not check.sees:
            return check.judge(self.read_snapshot()), 0.0
        seen, before = [], 0.0
        for observe in check.sees:
            began = time.monotonic()
            observed = self._observations.result(observe, self._observation(observe, check))
            waited = time.monotonic() - began
            before += max(0.0, observed.seconds - waited) if observed.ahead else 0.0
            seen.append(observed.value)
        return check.judge(self.here, *seen), before

    def look_ahead(self, checks: Iterable[Check]) -> None:
        """Start making what these checks see, side by side."""
        for check in checks:
            for observe in check.sees:
                self.traffic()  # opened here, in one thread
                self.read_snapshot()
                self._observations.begin(observe, self._observation(observe, check))

    def _observation(self, observe: Observe, check: Check) -> Callable[[], Any]:
        return partial(self._once, observe) if check.alone else partial(observe, self)

    def _once(self, observe: Observe) -> Any:
        """What an observer gives, made once in all processes of a run unless it fails.

        - Only for checks that run alone: nobody else comes to it while the first one observes.
        - An observer that does not say what it returns is asked again in each process.
        """
        from ..plain import from_plain, to_plain

        kind = get_type_hints(observe).get("return")
        if kind is None:
            return self._undisturbed(observe)
        file = self.folder / f"{self.topology}-{observe.__module__}.{observe.__qualname__}.json"
        if file.exists():
            return from_plain(kind, json.loads(file.read_text()))
        seen = self._undisturbed(observe)
        file.write_text(json.dumps(to_plain(seen)))
        return seen

    def _undisturbed(self, observe: Observe) -> Any:
        """What an observer gives while no other run disrupts the mesh."""
        from ..faults.alone import alone

        if not self.may_disrupt:
            return observe(self)  # what disrupts nothing writes nothing into istiod's namespace
        with alone(self.require_mesh(), self.kubes()):
            return observe(self)

    @property
    def lost(self) -> str:
        """Why the mesh cannot be judged any more; empty while it can."""
        return str(GivenUp(self._gone)) if self._gone else ""

    def give_up(self, why: MeshError) -> None:
        """End what waits for the clusters in this process, or asks them from now on.

        It ends with :class:`~pytest_istio_mc.errors.GivenUp`. Any thread may call this.
        """
        self._gone = self._gone or why
        self._pass_on()

    def _pass_on(self) -> None:
        if self._gone is None:
            return
        for kube in (self._kubes or {}).values():
            kube.give_up(self._gone)
        if self._traffic is not None:
            self._traffic.give_up(self._gone)

    def leave(self) -> None:
        """Close what this process opened to the mesh; a second call does nothing."""
        self._observations.close()
        self._kubes = self._traffic = self._snapshot = self._gateways = None
        self._open.close()

    def publish(self) -> None:
        """Tell workers of xdist of the mesh, or why there is none, by file."""
        document = {
            "run_id": self.run_id,
            "mesh": self.mesh.to_dict() if self.mesh else None,
            "snapshot_folder": str(self.snapshot_folder) if self.snapshot_folder else None,
            "no_probes": self.no_probes,
            "problem": self.problem,
        }
        path = self._published
        path.with_suffix(".new").write_text(json.dumps(document))
        path.with_suffix(".new").replace(path)

    def attach(self) -> None:
        """In a worker: take over what :meth:`publish` of the controller tells, when it does."""
        path = self._published
        within = self.settings.timeouts.provisioned
        eventually(
            path.is_file,
            bool,
            within_seconds=within,
            what=f"the mesh of {self.topology} for this worker",
        )
        document = json.loads(path.read_text())
        self.run_id, self.no_probes, self.problem = (
            document["run_id"],
            document["no_probes"],
            document["problem"],
        )
        self.snapshot_folder = (
            Path(document["snapshot_folder"]) if document["snapshot_folder"] else None
        )
        self.mesh = Mesh.from_dict(document["mesh"]) if document["mesh"] else None
        if self.mesh:
            self.settings = replace(self.settings, spec=self.mesh.spec)

    @property
    def _published(self) -> Path:
        return self.folder / f"mesh-{self.topology}.json"


class Runs:
    """The runs of a session by topology, in the order in which their meshes are certified."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = {run.topology: run for run in runs}

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def __getitem__(self, topology: str) -> Run:
        return self._runs[topology]

    @property
    def topologies(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._runs)

    def of(self, item: pytest.Item) -> Run | None:
        """The run that a test belongs to; None for a test that needs no mesh."""
        callspec = getattr(item, "callspec", None)
        topology = callspec.params.get(TOPOLOGY) if callspec is not None else None
        return self._runs.get(topology) if isinstance(topology, str) else None


@dataclass
class Recorded:
    """What the test of one check recorded: verdicts, and how long it was observed before."""

    verdicts: list[Verdict] = field(default_factory=list)
    seconds_before: float = 0.0


RUNS: pytest.StashKey[Runs] = pytest.StashKey()
"""The runs, in the stash of pytest's config; absent where no mesh is certified."""


CHECK: pytest.StashKey[Check] = pytest.StashKey()
"""The check that a test judges, in the stash of the item."""


RECORDED: pytest.StashKey[Recorded] = pytest.StashKey()
"""What the test recorded, in the stash of the item."""


def new_run_id() -> str:
    """A short id that names everything that this run creates: eight hexadecimal digits."""
    return uuid.uuid4().hex[:8]

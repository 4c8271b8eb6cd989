"""Upgrade: a mesh goes from one Istio to another, cluster by cluster, phase by phase.

- *canary*: a second istiod, of a revision of its own, beside the first, as in
  https://istio.io/latest/docs/setup/upgrade/canary/
- *in-place*: the new istiod takes the old one's place, as in
  https://istio.io/latest/docs/setup/upgrade/in-place/
- *restart*: nothing changes; istiods, workloads and gateways are restarted in the same order. What
  is lost during an upgrade and not during this, the upgrade has lost.

Every phase looks at what is there first, and does what is missing: after an interruption the same
call goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import MeshError, UsageProblem
from ..eventually import Timeouts, eventually
from ..istio_names import ISTIOD_PODS, REVISION_LABEL, is_default, of_revision
from ..progress import Progress
from ..spec import ClusterSpec, MeshSpec, Role
from ..together import side_by_side
from . import injected, istio, operators, steps
from .access import ClusterAccess
from .istio import IstioDistribution, Manifest
from .phases import PHASES, Method, Phase, PhaseTime
from .standing import INJECTOR, TAG_WEBHOOK, standing, tag_of

if TYPE_CHECKING:
    from ..kube import Kube

_TAG_SECONDS = 60.0
_DEFINITION = "CustomResourceDefinition"


@dataclass
class Upgrade:
    """An upgrade from ``source`` to ``target``, which differ in version or revision or neither.

    - ``mark`` is called with a text at the beginning of each phase and at the end.
    - ``back`` takes back what an upgrade from ``target`` to ``source`` did: gateways go first, the
      clusters in reverse order, and definitions stay.
    - ``versions`` are what :meth:`state` calls the images' tags.
    - Pods with the label ``spared`` are not restarted, and keep no revision from being removed.
    """

    spec: MeshSpec
    clusters: Mapping[str, ClusterAccess]
    source: IstioDistribution
    target: IstioDistribution
    method: Method
    progress: Progress
    timeouts: Timeouts
    mark: Callable[[str], None] = lambda text: None
    back: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    spared: str = ""

    def run(self, names: Sequence[str] = (), until: Phase | None = None) -> tuple[PhaseTime, ...]:
        """Go through the phases in these clusters, or in all; the phases with their times.

        - ``until`` is the last phase to go through.
        - :class:`UsageProblem`: an unknown cluster or phase, or a cluster whose istiod is elsewhere
          and would not be of the target by then.
        - :class:`MeshError` names the cluster and what it waited for. Nothing is undone.
        """
        phases = self._phases(until)
        chosen = self._chosen(names)
        whole = ", ".join(cluster.name for cluster in chosen)
        self._times: list[PhaseTime] = []
        self._since = {one.name: self._now(one) for one in chosen}
        if Phase.DEFINITIONS in phases:
            with self._phase(Phase.DEFINITIONS, "all clusters"):
                side_by_side(self._define, [(one.name, one) for one in self.spec])
        for group in self._groups(chosen, phases):
            for cluster, phase in group:
                with self._phase(phase, cluster.name):
                    self._steps[phase](cluster)
        if Phase.TAGS in phases:
            with self._phase(Phase.TAGS, whole):
                side_by_side(self._tag, [(one.name, one) for one in chosen])
        if Phase.REMOVAL in phases:
            with self._phase(Phase.REMOVAL, whole):
                self._remove(chosen)
        self.mark("end")
        return tuple(self._times)

    def state(self) -> tuple[str, ...]:
        """What each cluster has now, a line each: istiods, proxies, and the tag ``default``."""
        namespace = self.spec.istio_namespace
        return tuple(
            f"{one.name}: {standing(self._kube(one), namespace, self.versions)}"
            for one in self.spec
        )

    def _phases(self, until: Phase | None) -> tuple[Phase, ...]:
        phases = PHASES[self.method]
        if self.back:
            order = (Phase.ISTIOD, Phase.GATEWAYS, Phase.WORKLOADS, Phase.REMOVAL)
            phases = tuple(phase for phase in order if phase in phases)
        if until is None:
            return phases
        if until not in phases:
            how = f"{self.method.value}{', taken back' if self.back else ''}"
            valid = ", ".join(phase.value for phase in phases)
            raise UsageProblem(
                "--until",
                f'"{until.value}" is no phase of this upgrade ({how})',
                advice=f"valid are: {valid}; nothing was changed",
            )
        return phases[: phases.index(until) + 1]

    def _chosen(self, names: Sequence[str]) -> list[ClusterSpec]:
        """The clusters to go through, each control plane before those that it serves."""
        known = [cluster.name for cluster in self.spec]
        if unknown := [name for name in names if name not in known]:
            raise UsageProblem(
                "--clusters",
                f'"{", ".join(unknown)}" is not in the mesh',
                advice=f"valid are: {', '.join(known)}; nothing was changed",
            )
        chosen = [one for one in self._ordered() if not names or one.name in names]
        for cluster in chosen:
            plane = self.spec.control_plane_of(cluster.name)
            if plane not in chosen and not self._runs_target(plane):
                raise UsageProblem(
                    "--clusters",
                    f"{cluster.name} is served by {plane.name}, whose istiod is another",
                    advice=f"name {plane.name}, too; nothing was changed",
                )
        return chosen

    def _ordered(self) -> Iterator[ClusterSpec]:
        for plane in self.spec.control_planes:
            yield plane
            yield from (one for one in self.spec.served_by(plane) if one is not plane)

    def _groups(
        self, chosen: Sequence[ClusterSpec], phases: Iterable[Phase]
    ) -> Iterator[list[tuple[ClusterSpec, Phase]]]:
        """The phases that are gone through by cluster, in order."""
        mine = [phase for phase in phases if phase in self._steps]
        if not self.back:
            yield from ([(cluster, phase) for phase in mine] for cluster in chosen)
            return
        # what is to serve again must be there before anything turns to it
        yield [(cluster, phase) for cluster in chosen for phase in mine[:1]]
        yield from ([(cluster, phase) for phase in mine[1:]] for cluster in reversed(chosen))

    @property
    def _steps(self) -> Mapping[Phase, Callable[[ClusterSpec], None]]:
        return {
            Phase.ISTIOD: self._istiod,
            Phase.WORKLOADS: self._workloads,
            Phase.GATEWAYS: self._gateways,
        }

    @contextmanager
    def _phase(self, phase: Phase, where: str) -> Iterator[None]:
        text = f"{where}: {phase.value}"
        self.mark(text)
        began, start = time.time(), time.monotonic()
        with self.progress.step(text):
            yield
        took = time.monotonic() - start
        self._times.append(PhaseTime(phase, where, began, round(took, 3)))

    def _define(self, cluster: ClusterSpec) -> None:
        """Definitions, and what istiods of other clusters read this one with."""
        wanted = [
            manifest
            for manifest in self._new.control_plane(cluster)
            if manifest["kind"] == _DEFINITION
            or manifest["metadata"]["name"].startswith("istio-reader")
        ]
        self._apply(cluster, wanted)

    def _istiod(self, cluster: ClusterSpec) -> None:
        """The target's istiod, or the way to it, until it takes injections."""
        kube, spec = self._kube(cluster), self.spec
        deployment = injected.Workload(
            "Deployment", spec.istio_namespace, self.target.named("istiod")
        )
        if self.method is Method.RESTART:
            if cluster.runs_istiod:
                injected.restart(kube, deployment, self.target.revision)
        else:
            self._install(cluster)
        if cluster.runs_istiod:
            within = self.timeouts.control_plane_ready
            injected.wait_rolled_out(kube, deployment, within)
        if self.method is Method.CANARY and self._serves_others(cluster):
            self._apply(cluster, self._exposure())
        if cluster.runs_workloads:
            self._new.wait_for_injection(cluster)
        if cluster.runs_istiod:
            self._new.verify_control_plane(cluster)

    def _install(self, cluster: ClusterSpec) -> None:
        kube, manifests = self._kube(cluster), self._with_mesh_config(cluster)
        if self.back:
            manifests = [one for one in manifests if one["kind"] != _DEFINITION]
        held: list[Manifest] = []
        if self.method is Method.CANARY and is_default(self.target.revision):
            # the tag and the default revision's own webhook would both inject
            held = [one for one in manifests if one["kind"] == INJECTOR]
            manifests = [one for one in manifests if one["kind"] != INJECTOR]
        self._apply(cluster, manifests)
        if held:
            if kube.read(INJECTOR, TAG_WEBHOOK):
                self._tagging(cluster, "remove", "default", "--skip-confirmation")
            self._apply(cluster, held)

    def _workloads(self, cluster: ClusterSpec) -> None:
        if not cluster.runs_workloads:
            return
        kube = self._kube(cluster)
        if self.method is Method.CANARY:
            injected.turn_namespaces(kube, self.source.revision, self.target.revision)
        self._restart(cluster, gateways=False)

    def _gateways(self, cluster: ClusterSpec) -> None:
        if not cluster.runs_workloads:
            return
        kube, namespace = self._kube(cluster), self.spec.istio_namespace
        there = kube.read("Deployment", istio.EAST_WEST_GATEWAY, namespace)
        if there and self.method is Method.IN_PLACE:
            self._apply(cluster, self._new.gateway(cluster))
        self._restart(cluster, gateways=True)

    def _restart(self, cluster: ClusterSpec, *, gateways: bool) -> None:
        since = self._since[cluster.name] if self.method is Method.RESTART else ""
        image, spared = self.target.proxy_image, self.spared
        aim = injected.Aim(self.target.revision, image, since, spared)
        within = self.timeouts.workload_ready
        left = injected.restart_until(
            self._kube(cluster), aim, gateways=gateways, within_seconds=within
        )
        if left:
            names = ", ".join(map(str, left))
            self.progress.note(
                f"{cluster.name}: not restarted, since nothing makes it anew: {names}"
            )

    def _tag(self, cluster: ClusterSpec) -> None:
        """Have ``istio-injection=enabled`` mean the target's revision."""
        if cluster.runs_workloads and not is_default(self.target.revision):
            self._tagging(cluster, "set", "default", "--overwrite")

    def _tagging(self, cluster: ClusterSpec, verb: str, tag: str, *options: str) -> None:
        access = self.clusters[cluster.name]
        revision = [f"--revision={self.target.revision}"] if verb == "set" else []
        arguments = ["tag", verb, tag, *revision, *options]
        arguments += [f"--kubeconfig={access.kubeconfig}", f"--context={access.context}"]
        arguments += [f"--istioNamespace={self.spec.istio_namespace}"]
        thing = f'cluster "{cluster.name}"'
        istio.run_istioctl(self._newer, arguments, thing=thing, timeout_seconds=_TAG_SECONDS)

    @property
    def _newer(self) -> IstioDistribution:
        """The istioctl that knows both: the upgrade's, also where it is taken back."""
        return self.source if self.back else self.target

    def _remove(self, chosen: Sequence[ClusterSpec]) -> None:
        """Remove what the source's revision has for itself, once no proxy is of it."""
        self._demand_unused(chosen)
        side_by_side(self._remove_from, [(one.name, one) for one in chosen])

    def _demand_unused(self, chosen: Sequence[ClusterSpec]) -> None:
        names = {cluster.name for cluster in chosen}
        for cluster in self.spec.data_planes:
            if cluster.name not in names and cluster.served_from not in names:
                continue
            found = injected.proxies(self._kube(cluster), self.spared)
            using = [
                str(one.workload)
                for one in found
                if injected.same_revision(one.revision, self.source.revision)
            ]
            if using:
                raise MeshError(
                    f'cluster "{cluster.name}"',
                    f"proxies are still of revision {self.source.revision or 'default'}, "
                    "which was therefore left in place",
                    ", ".join(dict.fromkeys(using)),
                    advice="have them made anew, then run the same command again",
                )

    def _remove_from(self, cluster: ClusterSpec) -> None:
        kube, namespace = self._kube(cluster), self.spec.istio_namespace
        kept = set(map(_identity, self._new.control_plane(cluster)))
        gone = [
            one
            for one in map(_identity, self._old.control_plane(cluster))
            if one not in kept and one[1] != _DEFINITION
        ]
        if self._serves_others(cluster):
            route = of_revision("istiod-vs", self.source.revision)
            gone.append(("", "VirtualService", namespace, route))
        # webhooks first: what calls goes before what is called
        for _, kind, where, name in sorted(gone, key=lambda one: "Webhook" not in one[1]):
            kube.delete(kind, name, where or None)
        eventually(
            lambda: [
                pod["metadata"]["name"]
                for pod in kube.list("Pod", namespace, labels=ISTIOD_PODS)
                if injected.same_revision(
                    pod["metadata"]["labels"].get(REVISION_LABEL, ""), self.source.revision
                )
            ],
            lambda pods: not pods,
            within_seconds=self.timeouts.clean_up,
            what=f'cluster "{cluster.name}": the old istiod is gone',
        )

    def _exposure(self) -> list[Manifest]:
        """What leads clusters elsewhere to the target's istiod, at the Gateway that is there."""
        if not is_default(self.target.revision):
            return [operators.expose_revision(self.spec, self.target.revision)]
        return operators.expose_istiod(self.spec)

    def _serves_others(self, cluster: ClusterSpec) -> bool:
        served = self.spec.served_by(cluster) if cluster.role is Role.PRIMARY else ()
        return any(one is not cluster for one in served)

    def _with_mesh_config(self, cluster: ClusterSpec) -> list[Manifest]:
        """The target's manifests, with the mesh configuration that the source has."""
        import yaml

        kube, named = self._kube(cluster), self.target.named("istio")
        manifests = []
        for manifest in self._new.control_plane(cluster):
            if (manifest["kind"], manifest["metadata"]["name"]) == ("ConfigMap", named):
                name = self.source.named("istio")
                live = kube.read("ConfigMap", name, self.spec.istio_namespace) or {}
                here = yaml.safe_load(live.get("data", {}).get("mesh", "")) or {}
                mesh = istio.merged(here, yaml.safe_load(manifest["data"]["mesh"]))
                data = manifest["data"] | {"mesh": yaml.safe_dump(mesh)}
                manifests.append(manifest | {"data": data})
            else:
                manifests.append(manifest)
        return manifests

    def _runs_target(self, plane: ClusterSpec) -> bool:
        name = self.target.named("istiod")
        found = self._kube(plane).read("Deployment", name, self.spec.istio_namespace)
        return found is not None and tag_of(found) == self.target.tag

    @cached_property
    def _new(self) -> steps.Build:
        return self._build(self.target)

    @cached_property
    def _old(self) -> steps.Build:
        return self._build(self.source)

    def _build(self, distribution: IstioDistribution) -> steps.Build:
        return steps.Build(self.spec, self.clusters, distribution, self.progress, self.timeouts)

    def _kube(self, cluster: ClusterSpec) -> Kube:
        return self.clusters[cluster.name].kube

    def _now(self, cluster: ClusterSpec) -> str:
        seconds = self._kube(cluster).now()
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _apply(self, cluster: ClusterSpec, manifests: Sequence[Manifest]) -> None:
        self._kube(cluster).apply(*manifests, patience_seconds=self.timeouts.cluster_ready)


def _identity(manifest: Manifest) -> tuple[str, str, str, str]:
    group = str(manifest["apiVersion"]).rpartition("/")[0]
    metadata = manifest["metadata"]
    return group, manifest["kind"], metadata.get("namespace", ""), metadata["name"]

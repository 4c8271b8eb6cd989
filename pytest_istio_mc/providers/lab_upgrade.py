"""Upgrades of the lab: its Istio is replaced while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import MeshError, UsageProblem
from ..eventually import Timeouts
from ..progress import Progress
from ..spec import MeshSpec, Role
from ..topologies.phases import Method, Phase, PhaseTime

if TYPE_CHECKING:
    from ..lab.lab import Lab
    from ..topologies import ClusterAccess
    from ..topologies.istio import IstioDistribution
    from ..topologies.upgrade import Upgrade


@dataclass(frozen=True)
class Wanted:
    """An upgrade as it is asked for.

    - ``to``: a minor version (``1.31``); empty for a restart of what is there.
    - ``clusters`` and ``until`` limit it: what is left of it another call does.
    - ``back`` takes it back.
    - ``spared`` is a label of pods that are not restarted: those of a gate count requests.
    """

    to: str
    method: Method = Method.CANARY
    clusters: tuple[str, ...] = ()
    until: Phase | None = None
    back: bool = False
    spared: str = ""


def upgrade(
    running: Lab,
    spec: MeshSpec,
    wanted: Wanted,
    *,
    timeouts: Timeouts,
    progress: Progress,
    mark: Callable[[str], None] = lambda text: None,
) -> tuple[PhaseTime, ...]:
    """Take a lab's mesh to another Istio; the phases with their times.

    - ``spec`` has the lab's kubeconfig and contexts. ``mark`` is told each phase as it begins.
    - Whatever interrupts it, ``progress`` is told what each cluster has then.
    - :class:`UsageProblem`: nothing was changed. Other errors are those of
      ``topologies.upgrade.Upgrade.run``.
    """
    with _prepared(running, spec, wanted, timeouts, progress, mark) as prepared:
        try:
            times = prepared.run(wanted.clusters, wanted.until)
        except UsageProblem:
            raise
        except BaseException:
            _tell(prepared, progress, "interrupted; now there is")
            progress.note("the same command goes on from here; with --rollback it goes back")
            raise
        _tell(prepared, progress, "now there is")
        return times


def _tell(prepared: Upgrade, progress: Progress, words: str) -> None:
    try:
        for line in prepared.state():
            progress.note(f"{words}: {line}")
    except MeshError as error:
        progress.note(f"what there is now cannot be read: {error}")


@contextmanager
def _prepared(
    running: Lab,
    spec: MeshSpec,
    wanted: Wanted,
    timeouts: Timeouts,
    progress: Progress,
    mark: Callable[[str], None],
) -> Iterator[Upgrade]:
    from ..topologies.upgrade import Upgrade
    from .lab import distributions, reached

    known = distributions(running, progress)
    with reached(running, spec, timeouts) as clusters:
        if wanted.method is Method.RESTART:
            before = after = _installed(spec, clusters, known, wanted)
        else:
            before, after = _ends(running.plan.name, spec, known, wanted)
        yield Upgrade(
            spec,
            clusters,
            after if wanted.back else before,
            before if wanted.back else after,
            wanted.method,
            progress,
            timeouts,
            mark,
            wanted.back,
            {one.tag: minor for minor, one in known.items()},
            wanted.spared,
        )


def _installed(
    spec: MeshSpec,
    clusters: Mapping[str, ClusterAccess],
    known: Mapping[str, IstioDistribution],
    wanted: Wanted,
) -> IstioDistribution:
    """The Istio of which all control planes are, to be restarted."""
    from ..topologies.standing import istiods, revision_of, tag_of

    found = {
        (revision_of(one), tag_of(one))
        for plane in spec.control_planes
        for one in istiods(clusters[plane.name].kube, spec.istio_namespace)
    }
    named = {one.tag: minor for minor, one in known.items()}
    told = ", ".join(f"{named.get(tag, tag)} ({revision})" for revision, tag in sorted(found))
    if wanted.back:
        advice = "leave --rollback out; nothing was changed"
        raise UsageProblem(
            "--rollback", "there is nothing to take back of a restart", advice=advice
        )
    if len(found) != 1 or (wanted.to and {named.get(tag) for _, tag in found} != {wanted.to}):
        raise UsageProblem(
            "--method restart",
            f"the istiods are of Istio {told or 'no version'}; one version is restarted as it is",
            advice="leave --to out, and finish or take back an upgrade first; nothing was changed",
        )
    ((revision, tag),) = found
    one = known.get(named.get(tag, ""))
    if one is None:
        raise UsageProblem("--method restart", f"the images {tag} are not this lab's")
    return replace(one, revision="" if revision == "default" else revision)


def _ends(
    lab: str, spec: MeshSpec, known: Mapping[str, IstioDistribution], wanted: Wanted
) -> tuple[IstioDistribution, IstioDistribution]:
    """The Istio before and the one after."""
    from ..lab.binaries.components import version_tuple

    begun, to = next(iter(known)), wanted.to
    if not to:
        newer = ", ".join(one for one in known if one != begun) or "none"
        advice = f"this lab can go to: {newer}; nothing was changed"
        raise UsageProblem("--to", "is missing", advice=advice)
    if to not in known:
        raise UsageProblem(
            f'lab "{lab}"',
            f"has no images of Istio {to}: it was made with {', '.join(known)}",
            advice="start one with `istio-mc lab up --istio VERSION`, the version to upgrade from; "
            "nothing was changed",
        )
    if version_tuple(to) <= version_tuple(begun):
        raise UsageProblem(
            "--to",
            f'{to} is not newer than {begun}, with which lab "{lab}" was made',
            advice="--rollback takes an upgrade back, --method restart restarts what is there; "
            "nothing was changed",
        )
    if wanted.method is Method.IN_PLACE:
        return known[begun], known[to]
    if any(cluster.role is Role.EXTERNAL for cluster in spec):
        raise UsageProblem(
            "--method",
            "an external control plane gets no second revision beside it here",
            advice="give --method in-place; nothing was changed",
        )
    return known[begun], replace(known[to], revision=to.replace(".", "-"))

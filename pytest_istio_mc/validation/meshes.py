"""Meshes: the clusters of a topology, spec file, contexts or snapshot."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..settings import Given, expanded
from ..spec import ClusterSpec, MeshSpec, with_contexts
from ..spec_file import spec_of
from .refusals import is_folder, meant, read_document, refuse

if TYPE_CHECKING:
    from ..topologies import Topology


def wanted(given: Mapping[str, Given], known: Mapping[str, Topology]) -> MeshSpec:
    """The mesh of the spec file, or the topology's, named by contexts."""
    name = given["topology"].text if "topology" in given else ""
    if not (name or "spec" in given):
        raise refuse("--mesh-topology", "is missing", [*sorted(known), "all"])
    if "spec" not in given:
        topology = known[name]
        contexts = _contexts(given)
        spec = topology.default_spec(len(contexts) or None)
        return _renamed(spec, tuple(contexts)) if contexts else spec
    path = given["spec"].path
    spec = spec_of(read_document(path, "--mesh-spec"), f"--mesh-spec {path}")
    if name and spec.topology != name:
        raise refuse(
            "--mesh-spec",
            f'{path.name} describes "{spec.topology}", --mesh-topology says "{name}"',
            advice=f"give --mesh-topology={spec.topology} or another file",
        )
    if spec.topology not in known:
        called = f'names the topology "{spec.topology}", which nobody knows'
        raise refuse("--mesh-spec", f"{path.name} {called}{meant(spec.topology, known)}", [*known])
    known[spec.topology].check(spec)
    return spec


def replayed(replay: Given, given: Mapping[str, Given]) -> MeshSpec:
    """The mesh of a recorded snapshot."""
    from ..snapshot import Snapshot

    advice = "give one that --mesh-snapshot wrote"
    if not is_folder(replay.path):
        raise refuse("--mesh-replay", f"{replay.path} is not a folder", advice=advice)
    spec = Snapshot.load(replay.path).spec
    if "topology" in given and given["topology"].text not in (spec.topology, "all"):
        said = f'--mesh-topology says "{given["topology"].text}"'
        detail = f'the snapshot is of "{spec.topology}", {said}'
        raise refuse("--mesh-replay", detail, advice="leave --mesh-topology out")
    return spec


def located(spec: MeshSpec, given: Mapping[str, Given], environment: Mapping[str, str]) -> MeshSpec:
    """The mesh with a kubeconfig, and a context for every cluster."""
    contexts, names = _contexts(given), [cluster.name for cluster in spec]
    strangers = [name for name in contexts if name not in names]
    if strangers:
        raise refuse("--mesh-contexts", f'"{", ".join(strangers)}" is not in the mesh', names)
    without = [one.name for one in spec if not (contexts.get(one.name) or one.context)]
    if without:
        example = ",".join(f"{name}=CONTEXT" for name in names)
        raise refuse(
            "--mesh-contexts",
            f"no context for cluster {', '.join(without)}",
            advice=f"write --mesh-contexts={example} or put contexts into the --mesh-spec file",
        )
    kubeconfig = _kubeconfig(spec, given, environment)
    spec = with_contexts(spec, contexts, kubeconfig).validated(_sources(given))
    known = _known_contexts(kubeconfig)
    missing = sorted(cluster.context for cluster in spec if cluster.context not in known)
    if missing:
        detail = f"the kubeconfig {kubeconfig} has no context {', '.join(missing)}"
        raise refuse("--mesh-contexts", detail, sorted(known) or ["none"])
    return spec


def _sources(given: Mapping[str, Given]) -> str:
    """The options that say which contexts there are."""
    named = [f"--mesh-{name}" for name in ("contexts", "spec") if name in given]
    return " or ".join(named) or "--mesh-contexts"


def _renamed(spec: MeshSpec, names: Sequence[str]) -> MeshSpec:
    new = dict(zip((cluster.name for cluster in spec), names, strict=True))

    def rename(cluster: ClusterSpec) -> ClusterSpec:
        plane = new.get(cluster.control_plane, cluster.control_plane)
        return replace(cluster, name=new[cluster.name], control_plane=plane)

    clusters = tuple(rename(cluster) for cluster in spec)
    return replace(spec, clusters=clusters).validated("--mesh-contexts")


def _contexts(given: Mapping[str, Given]) -> dict[str, str]:
    contexts: dict[str, str] = {}
    for part in given["contexts"].text.split(",") if "contexts" in given else ():
        name, equals, context = (piece.strip() for piece in part.partition("="))
        if not (name and equals and context):
            detail = f'"{part.strip()}" is not cluster=context'
            raise refuse("--mesh-contexts", detail, advice="write east=prod-a,west=prod-b")
        if name in contexts:
            raise refuse("--mesh-contexts", f'cluster "{name}" is given twice')
        contexts[name] = context
    return contexts


def _kubeconfig(spec: MeshSpec, given: Mapping[str, Given], environment: Mapping[str, str]) -> str:
    if "kubeconfig" in given:
        folder, text = given["kubeconfig"].folder, given["kubeconfig"].text
        parts = [(folder / part).absolute() for part in text.split(os.pathsep) if part]
        return os.pathsep.join(map(str, parts))
    if spec.kubeconfig:
        folder = given["spec"].path.parent if "spec" in given else Path.cwd()
        return str((folder / expanded(spec.kubeconfig)).absolute())
    # absolute, each of them: another process may have to find them (the dead man's timer)
    named = [Path(part) for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    return os.pathsep.join(
        map(str, map(Path.absolute, named or [Path("~/.kube/config").expanduser()]))
    )


def _known_contexts(kubeconfig: str) -> set[str]:
    found: set[str] = set()
    for part in filter(None, kubeconfig.split(os.pathsep)):
        document = read_document(Path(part), "--mesh-kubeconfig")
        entries = document.get("contexts") if isinstance(document, Mapping) else None
        if not isinstance(entries, list):
            detail = f"{part} is not a kubeconfig: it has no list of contexts"
            raise refuse("--mesh-kubeconfig", detail)
        named = [entry for entry in entries if isinstance(entry, Mapping) and "name" in entry]
        found |= {str(entry["name"]) for entry in named}
    return found

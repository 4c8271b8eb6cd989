"""Running versions: what istiods and proxies say of themselves, for the certificate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..mesh import Mesh
from ..snapshot import Snapshot

# istio.io/istio/pkg/version: version, commit and state of the tree of the build, with hyphens
_BUILD = re.compile(r"^(.+?)-[0-9a-f]{7,40}(?:-dirty)?-(?:Clean|Modified)$")


def with_running_versions(mesh: Mesh, snapshot: Snapshot) -> Mesh:
    """The mesh with the versions ``istiod`` and ``proxies`` of each cluster, where one was read.

    Of several versions in a cluster, each is named: a mesh that is being upgraded has them.
    """
    proxies: dict[str, set[str]] = {}
    for cluster in snapshot.clusters.values():
        for istiod in cluster.istiods:
            for row in istiod.debug.get("syncz") or ():
                said = str(row.get("istio_version", ""))
                proxies.setdefault(str(row.get("cluster_id", "")), set()).add(said)

    def read(name: str) -> Iterator[tuple[str, str]]:
        cluster = snapshot.clusters.get(name)
        istiods = {short(one.version) for one in cluster.istiods} if cluster else set()
        for what, found in (("istiod", istiods), ("proxies", proxies.get(name, set()))):
            if told := ", ".join(sorted(filter(None, found))):
                yield what, told

    versions: Mapping[str, Mapping[str, str]] = {
        cluster.name: {**mesh.versions.get(cluster.name, {}), **dict(read(cluster.name))}
        for cluster in mesh.spec
    }
    return replace(mesh, versions=versions)


def short(version: str) -> str:
    """The version that istiod states, without the build's commit and state: ``1.31.0``."""
    found = _BUILD.match(version)
    return found[1] if found else version

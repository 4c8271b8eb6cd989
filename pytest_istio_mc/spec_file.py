"""The ``--mesh-spec`` file format: a MeshSpec to a plain JSON document and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import UsageProblem
from .spec import API_VERSION, ClusterSpec, Locality, MeshSpec, Role

TOP_LEVEL_KEYS = {
    "apiVersion", "kind", "topology", "meshId", "trustDomain", "istioNamespace", "kubeconfig",
    "federated", "clusters",
}  # fmt: skip
CLUSTER_KEYS = {
    "name", "network", "role", "controlPlane", "region", "zone", "subzone", "context", "meshId",
    "trustDomain",
}  # fmt: skip


def document_of(spec: MeshSpec) -> dict[str, Any]:
    """The document of a mesh, from which :func:`spec_of` makes the same again."""
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "MeshSpec",
        "topology": spec.topology,
        "meshId": spec.mesh_id,
        "trustDomain": spec.trust_domain,
        "istioNamespace": spec.istio_namespace,
    }
    if spec.kubeconfig:
        document["kubeconfig"] = spec.kubeconfig
    if spec.federated:
        document["federated"] = True
    document["clusters"] = [_cluster_document(cluster) for cluster in spec]
    return document


def spec_of(document: Mapping[str, Any], source: str = "mesh spec") -> MeshSpec:
    """The mesh of a document, validated; ``source`` names the file in errors.

    :class:`UsageProblem` where the document is malformed or the mesh cannot be.
    """
    if not isinstance(document, Mapping):
        raise _refuse(source, f"expected a mapping, got {type(document).__name__}")
    if document.get("apiVersion", API_VERSION) != API_VERSION:
        raise _refuse(source, f"apiVersion {document['apiVersion']!r}, known is {API_VERSION!r}")
    _only_known(document, TOP_LEVEL_KEYS, source, "the document")
    entries = document.get("clusters")
    if not isinstance(entries, list) or not entries:
        raise _refuse(source, "'clusters' must be a list with at least one entry")
    federated = document.get("federated", False)
    if not isinstance(federated, bool):
        raise _refuse(source, "'federated' must be true or false")
    clusters = [_cluster_of(entry, source, number) for number, entry in enumerate(entries, 1)]
    return MeshSpec(
        topology=_text(document, "topology", source, required=True),
        clusters=tuple(clusters),
        mesh_id=_text(document, "meshId", source) or "mesh1",
        trust_domain=_text(document, "trustDomain", source) or "cluster.local",
        istio_namespace=_text(document, "istioNamespace", source) or "istio-system",
        federated=federated,
        kubeconfig=_text(document, "kubeconfig", source),
    ).validated()


def _cluster_document(cluster: ClusterSpec) -> dict[str, Any]:
    document = {"name": cluster.name, "network": cluster.network, "role": cluster.role.value}
    optional = {
        "controlPlane": cluster.control_plane,
        "region": cluster.locality.region,
        "zone": cluster.locality.zone,
        "subzone": cluster.locality.subzone,
        "context": cluster.context,
        "meshId": cluster.mesh_id,
        "trustDomain": cluster.trust_domain,
    }
    return document | {key: value for key, value in optional.items() if value}


def _cluster_of(entry: object, source: str, number: int) -> ClusterSpec:
    where = f"clusters[{number}]"
    if not isinstance(entry, Mapping):
        raise _refuse(source, f"{where} must be a mapping with name and network")
    _only_known(entry, CLUSTER_KEYS, source, where)
    role = _text(entry, "role", source, where) or Role.PRIMARY.value
    known = [role.value for role in Role]
    if role not in known:
        raise _refuse(source, f"{where}: role {role!r}, known are {', '.join(known)}")
    place = (_text(entry, key, source, where) for key in ("region", "zone", "subzone"))
    return ClusterSpec(
        name=_text(entry, "name", source, where, required=True),
        network=_text(entry, "network", source, where, required=True),
        role=Role(role),
        control_plane=_text(entry, "controlPlane", source, where),
        locality=Locality(*place),
        context=_text(entry, "context", source, where),
        mesh_id=_text(entry, "meshId", source, where),
        trust_domain=_text(entry, "trustDomain", source, where),
    )


def _only_known(entry: Mapping[str, Any], known: set[str], source: str, where: str) -> None:
    if unknown := sorted(str(key) for key in entry if key not in known):
        told = f"unknown keys {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        raise _refuse(source, f"{where} has {told}")


def _text(
    entry: Mapping[str, Any],
    key: str,
    source: str,
    where: str = "the document",
    required: bool = False,
) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise _refuse(source, f"{where}: {key!r} must be text, got {value!r}")
    if required and not value:
        raise _refuse(source, f"{where}: {key!r} is missing")
    return value


def _refuse(source: str, detail: str) -> UsageProblem:
    advice = "`istio-mc docs mesh-spec.md` has every key; nothing was started"
    return UsageProblem(source, f"malformed: {detail}", advice=advice)

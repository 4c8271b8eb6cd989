"""The ``--mesh-spec`` file format: a MeshSpec to a plain JSON document and back."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from typing_extensions import TypedDict

from .errors import UsageProblem
from .names import DNS_LABEL, LABEL_VALUE, ONE_LINE, TRUST_DOMAIN, WORD
from .plain import Misfit, from_document, json_schema
from .spec import API_VERSION, ClusterSpec, Locality, MeshSpec, Role


class _ClusterDocument(TypedDict):
    """One entry of ``clusters``."""

    name: Annotated[str, DNS_LABEL]
    network: Annotated[str, LABEL_VALUE]
    role: NotRequired[Literal["primary", "remote", "config", "external"]]
    controlPlane: NotRequired[Annotated[str, DNS_LABEL]]
    region: NotRequired[Annotated[str, LABEL_VALUE]]
    zone: NotRequired[Annotated[str, LABEL_VALUE]]
    subzone: NotRequired[Annotated[str, LABEL_VALUE]]
    context: NotRequired[Annotated[str, ONE_LINE]]
    meshId: NotRequired[Annotated[str, WORD]]
    trustDomain: NotRequired[Annotated[str, TRUST_DOMAIN]]


class _Document(TypedDict):
    """The whole file."""

    apiVersion: NotRequired[str]
    kind: NotRequired[str]
    topology: Annotated[str, ONE_LINE]
    meshId: NotRequired[Annotated[str, WORD]]
    trustDomain: NotRequired[Annotated[str, TRUST_DOMAIN]]
    istioNamespace: NotRequired[Annotated[str, DNS_LABEL]]
    kubeconfig: NotRequired[Annotated[str, ONE_LINE]]
    federated: NotRequired[bool]
    clusters: list[_ClusterDocument]


TOP_LEVEL_KEYS = frozenset(_Document.__annotations__)
CLUSTER_KEYS = frozenset(_ClusterDocument.__annotations__)
_ALL_KEYS = TOP_LEVEL_KEYS | CLUSTER_KEYS


def spec_schema() -> dict[str, Any]:
    """The JSON Schema of the file."""
    found = json_schema(_Document)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "MeshSpec"} | found


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


def spec_of(document: Any, source: str = "mesh spec") -> MeshSpec:
    """The mesh of a document, validated; ``source`` names the file in errors.

    :class:`UsageProblem` where the document is malformed or the mesh cannot be.
    """
    version = document.get("apiVersion", API_VERSION) if isinstance(document, dict) else API_VERSION
    if version != API_VERSION:
        raise _refuse(source, f"apiVersion {version!r}, known is {API_VERSION!r}")
    try:
        read = from_document(_Document, document)
    except Misfit as error:
        raise _refuse(source, error.told(_ALL_KEYS)) from error
    if not read["clusters"]:
        raise _refuse(source, "clusters: there are none")
    return MeshSpec(
        topology=read["topology"],
        clusters=tuple(_cluster_of(entry) for entry in read["clusters"]),
        mesh_id=read.get("meshId") or "mesh1",
        trust_domain=read.get("trustDomain") or "cluster.local",
        istio_namespace=read.get("istioNamespace") or "istio-system",
        federated=read.get("federated", False),
        kubeconfig=read.get("kubeconfig", ""),
    ).validated(source)


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


def _cluster_of(entry: _ClusterDocument) -> ClusterSpec:
    return ClusterSpec(
        name=entry["name"],
        network=entry["network"],
        role=Role(entry.get("role") or Role.PRIMARY.value),
        control_plane=entry.get("controlPlane", ""),
        locality=Locality(entry.get("region", ""), entry.get("zone", ""), entry.get("subzone", "")),
        context=entry.get("context", ""),
        mesh_id=entry.get("meshId", ""),
        trust_domain=entry.get("trustDomain", ""),
    )


def _refuse(source: str, detail: str) -> UsageProblem:
    advice = "`istio-mc docs mesh-spec.md` has every key; nothing was started"
    return UsageProblem(source, f"malformed: {detail}", advice=advice)

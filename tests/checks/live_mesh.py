"""A healthy mesh of two networks as its probes see it, for tests to spoil."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pytest_istio_mc.checks.site import Here
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.mesh import Mesh, ProbePod, Probes
from pytest_istio_mc.observations import (
    Answer,
    ClientCertificate,
    Ending,
    GatewayAddress,
    NamedCall,
    Path,
    PeerCertificate,
    Plaintext,
    Protocol,
    Request,
    TlsHandshake,
    Trial,
)
from pytest_istio_mc.recorded import Failure
from pytest_istio_mc.shapes import KINDS
from pytest_istio_mc.snapshot import ClusterSnapshot, Snapshot
from pytest_istio_mc.spec import ClusterSpec, MeshSpec

NAMESPACE = "istio-mc-test"
GATEWAYS = (
    GatewayAddress("east", "network1", "istio-system/eastwest", "198.19.1.1", 15443),
    GatewayAddress("west", "network2", "istio-system/eastwest", "198.19.2.1", 15443),
)


def spiffe(account: str, namespace: str = NAMESPACE, domain: str = "cluster.local") -> str:
    return f"spiffe://{domain}/ns/{namespace}/sa/{account}"


def mesh(*clusters: ClusterSpec) -> Mesh:
    """Two primaries on a network each, or the given clusters."""
    members = clusters or (
        ClusterSpec("east", "network1", context="k-east"),
        ClusterSpec("west", "network2", context="k-west"),
    )
    pods: list[ProbePod] = []
    for place, cluster in enumerate(members, 1):
        name, ips = cluster.name, f"10.{place}.0"
        client = ProbePod(name, "client", f"client-{name}", f"{ips}.2", "", f"v{place}", "client")
        server = ProbePod(
            name, "server", f"hello-{name}", f"{ips}.3", "", f"v{place}", "helloworld"
        )
        pods += [client, server]
    probes = Probes(NAMESPACE, "helloworld", "python", tuple(pods))
    return Mesh(MeshSpec("test", members), "test", "attach", "python", probes=probes)


def here(of: Mesh | None = None, snapshot: Snapshot | None = None) -> Here:
    """What judges are given of a mesh; without a snapshot one that knows nothing."""
    of = of or mesh()
    return Here(of, snapshot or _snapshot(of), Timeouts())


def unread(of: Mesh) -> Snapshot:
    """A snapshot of that mesh in which nothing could be read."""
    return _snapshot(of, Failure("reach the API server", "timed out"))


def _snapshot(of: Mesh, *failures: Failure) -> Snapshot:
    nothing: dict[str, tuple[dict[str, Any], ...]] = dict.fromkeys(KINDS, ())
    clusters = {
        one.name: ClusterSnapshot(one.name, objects=nothing, failures=failures) for one in of.spec
    }
    return Snapshot(of.spec, of.run_id, "2026-11-21T09:00:00+00:00", clusters, of.probes)


def answer(
    of: Mesh, cluster: str, source: str = "east", *, role: str = "server", port: int = 5000
) -> Answer:
    probes = of.require_probes()
    pod = next(pod for pod in probes.pods if pod.cluster == cluster and pod.role == role)
    accounts = spiffe("client"), spiffe(pod.service_account)
    return Answer(cluster, NAMESPACE, pod.name, pod.version, role, port, "HTTP/1.1", *accounts)


def request(of: Mesh, source: str, target: str, **changes: object) -> Request:
    """One request from ``source`` that ``target`` answered."""
    good = Request(
        when=1.0,
        source=source,
        source_pod=f"client-{source}",
        host=f"helloworld.{NAMESPACE}",
        port=5000,
        protocol=Protocol.HTTP,
        ending=Ending.ANSWERED,
        status=200,
        answer=answer(of, target, source),
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def failed(of: Mesh, source: str, status: int, body: str) -> Request:
    """One request that the client's own sidecar answered with an error."""
    return request(of, source, source, status=status, answer=None, error=body)


def requests(of: Mesh, each: int = 10) -> list[Request]:
    """Every cluster's client is answered by every cluster, evenly."""
    names = [cluster.name for cluster in of.spec.data_planes]
    return [
        request(of, source, target) for source in names for target in names for _ in range(each)
    ]


def certificate(account: str = "helloworld") -> PeerCertificate:
    uris, issuer = (spiffe(account),), "O=istio-mc,CN=intermediate"
    names = tuple(f"URI:{uri}" for uri in uris)
    return PeerCertificate(uris, names, "", issuer, "ab", "2030-01-01T00:00:00+00:00", 2)


def handshake(
    of: Mesh,
    source: str,
    target: str,
    *,
    port: int = 5999,
    address: str = "198.19.2.1",
    **changes: object,
) -> TlsHandshake:
    """A handshake with the mesh certificate, in which ``target`` answered."""
    good = TlsHandshake(
        source=source,
        address=address,
        port=15443,
        sni=f"outbound_.{port}_._.helloworld.{NAMESPACE}.svc.cluster.local",
        certificate=ClientCertificate.MESH,
        ending=Ending.ANSWERED,
        connected=True,
        completed=True,
        verified=True,
        version="TLSv1.3",
        peer=certificate(),
        status=200,
        answer=answer(of, target, source, port=port),
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def refused(
    one: TlsHandshake, certificate: ClientCertificate = ClientCertificate.FOREIGN
) -> TlsHandshake:
    """The same handshake when the workload refuses the client's certificate."""
    error = "SSLError: tlsv1 alert unknown ca"
    return replace(
        one, certificate=certificate, ending=Ending.ALERT, status=0, answer=None, error=error
    )


def closed(source: str, address: str = "198.19.2.1", port: int = 15443) -> Plaintext:
    """Plaintext that was turned away."""
    error = "closed without a byte"
    return Plaintext(source, address, port, Ending.CLOSED, connected=True, error=error)


def way(source: str, target: str) -> Path:
    gateway = next((gateway for gateway in GATEWAYS if gateway.cluster == target), None)
    return Path(source, target, gateway.address if gateway else "10.0.0.3", 15443, gateway)


def trials(of: Mesh, certificate: ClientCertificate = ClientCertificate.FOREIGN) -> list[Trial]:
    """A trial for every ordered pair of clusters.

    A handshake and plaintext that are refused, and a twin that the target answers.
    """
    found = []
    for source, target in of.spec.pairs:
        twin = handshake(of, source.name, target.name)
        forbidden = (refused(twin, certificate), closed(source.name))
        path = way(source.name, target.name)
        found.append(Trial(source.name, target.name, path, forbidden, (twin,)))
    return found


def named_calls(of: Mesh) -> list[NamedCall]:
    """Every name at every gateway from the other network, each led where it should."""
    calls = []
    for source, target in of.spec.pairs:
        gateway = next(gateway for gateway in GATEWAYS if gateway.cluster == target.name)
        names = [("helloworld", 5000, ""), ("helloworld", 5999, ""), ("client", 5000, "")]
        names += [("helloworld-subsets", 5000, f"v{place}") for place, _ in enumerate(of.spec, 1)]
        calls += [_named_call(of, source.name, gateway, *name) for name in names]
    return calls


def _named_call(
    of: Mesh, source: str, gateway: GatewayAddress, service: str, port: int, subset: str
) -> NamedCall:
    role, account = ("client", "client") if service == "client" else ("server", "helloworld")
    seen = answer(of, gateway.cluster, source, role=role, port=port)
    made = handshake(
        of,
        source,
        gateway.cluster,
        address=gateway.address,
        sni=f"outbound_.{port}_.{subset}_.{service}.{NAMESPACE}.svc.cluster.local",
        answer=seen,
        peer=certificate(account),
    )
    if subset not in ("", seen.version):
        made = replace(
            made,
            ending=Ending.CLOSED,
            completed=False,
            verified=False,
            peer=None,
            status=0,
            answer=None,
            error="EOF",
        )
    return NamedCall(gateway, service, port, subset, made)

"""A mesh of two networks as its probes see it when all is well, for the tests of live judges to spoil."""

from __future__ import annotations

from dataclasses import replace

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
from pytest_istio_mc.snapshot import ClusterSnapshot, Failure, Snapshot
from pytest_istio_mc.spec import ClusterSpec, MeshSpec

NAMESPACE = "istio-mc-test"


def spiffe(account: str, namespace: str = NAMESPACE, domain: str = "cluster.local") -> str:
    return f"spiffe://{domain}/ns/{namespace}/sa/{account}"


def mesh(*clusters: ClusterSpec) -> Mesh:
    """Two primaries on a network each, or the given clusters."""
    members = clusters or (
        ClusterSpec("east", "network1", context="k-east"),
        ClusterSpec("west", "network2", context="k-west"),
    )
    pods = tuple(
        pod
        for place, cluster in enumerate(members, 1)
        for pod in (
            ProbePod(
                cluster.name,
                "client",
                f"client-{cluster.name}",
                f"10.{place}.0.2",
                version=f"v{place}",
                service_account="client",
            ),
            ProbePod(
                cluster.name,
                "server",
                f"hello-{cluster.name}",
                f"10.{place}.0.3",
                version=f"v{place}",
                service_account="helloworld",
            ),
        )
    )
    spec = MeshSpec("test", members)
    return Mesh(
        spec, "test", "attach", "python", probes=Probes(NAMESPACE, "helloworld", "python", pods)
    )


def unread(here: Mesh) -> Snapshot:
    """A snapshot of that mesh in which nothing could be read."""
    clusters = {
        cluster.name: ClusterSnapshot(
            cluster.name, failures=(Failure("reach the API server", "timed out"),)
        )
        for cluster in here.spec
    }
    return Snapshot(here.spec, here.run_id, "2026-01-01T00:00:00+00:00", clusters, here.probes)


GATEWAYS = (
    GatewayAddress("east", "network1", "istio-system/eastwest", "198.19.1.1", 15443),
    GatewayAddress("west", "network2", "istio-system/eastwest", "198.19.2.1", 15443),
)


def answer(
    here: Mesh, cluster: str, source: str = "east", *, role: str = "server", port: int = 5000
) -> Answer:
    assert here.probes is not None
    pod = next(pod for pod in here.probes.pods if pod.cluster == cluster and pod.role == role)
    return Answer(
        cluster,
        NAMESPACE,
        pod.name,
        pod.version,
        role,
        port,
        "HTTP/1.1",
        spiffe("client"),
        spiffe(pod.service_account),
    )


def request(here: Mesh, source: str, target: str, **changes: object) -> Request:
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
        answer=answer(here, target, source),
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def failed(here: Mesh, source: str, status: int, body: str) -> Request:
    """One request that the client's own sidecar answered with an error."""
    return request(here, source, source, status=status, answer=None, error=body)


def requests(here: Mesh, each: int = 10) -> list[Request]:
    """Every cluster's client is answered by every cluster, evenly."""
    names = [cluster.name for cluster in here.spec.data_planes]
    return [
        request(here, source, target) for source in names for target in names for _ in range(each)
    ]


def certificate(account: str = "helloworld") -> PeerCertificate:
    uris = (spiffe(account),)
    return PeerCertificate(
        uris,
        tuple(f"URI:{uri}" for uri in uris),
        "",
        "O=istio-mc,CN=intermediate",
        "ab",
        "2030-01-01T00:00:00+00:00",
        2,
    )


def handshake(
    here: Mesh,
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
        answer=answer(here, target, source, port=port),
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
    return Plaintext(
        source, address, port, Ending.CLOSED, connected=True, error="closed without a byte"
    )


def way(source: str, target: str) -> Path:
    gateway = next((gateway for gateway in GATEWAYS if gateway.cluster == target), None)
    return Path(source, target, gateway.address if gateway else "10.0.0.3", 15443, gateway)


def trials(here: Mesh, certificate: ClientCertificate = ClientCertificate.FOREIGN) -> list[Trial]:
    """For every ordered pair of clusters, a refused handshake, refused plaintext, and a twin that the target answered."""
    found = []
    for source, target in here.spec.pairs:
        twin = handshake(here, source.name, target.name)
        forbidden = (refused(twin, certificate), closed(source.name))
        found.append(
            Trial(source.name, target.name, way(source.name, target.name), forbidden, (twin,))
        )
    return found


def named_calls(here: Mesh) -> list[NamedCall]:
    """Every name at every gateway from the other network, each led where it should."""
    calls = []
    for source, target in here.spec.pairs:
        gateway = next(gateway for gateway in GATEWAYS if gateway.cluster == target.name)

        def call(
            service: str,
            port: int,
            subset: str = "",
            here: Mesh = here,
            gateway: GatewayAddress = gateway,
            source: str = source.name,
        ) -> NamedCall:
            role = "client" if service == "client" else "server"
            seen = answer(here, gateway.cluster, source, role=role, port=port)
            account = "client" if role == "client" else "helloworld"
            sni = f"outbound_.{port}_.{subset}_.{service}.{NAMESPACE}.svc.cluster.local"
            made = handshake(
                here,
                source,
                gateway.cluster,
                address=gateway.address,
                sni=sni,
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

        calls += [call("helloworld", 5000), call("helloworld", 5999), call("client", 5000)]
        calls += [
            call("helloworld-subsets", 5000, f"v{place}") for place, _ in enumerate(here.spec, 1)
        ]
    return calls

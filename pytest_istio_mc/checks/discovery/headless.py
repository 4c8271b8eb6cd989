"""Headless services: MC-DISCOVERY-007."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...mesh import Mesh
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_REACH, check
from ..judging import Found, Gap, names, pair_names, verdict_from
from ..remedies import Commands
from ..replies import identity
from ..site import Here
from .facts import HeadlessCall, HeadlessName
from .observe import headless_calls

ROUTING = "https://istio.io/latest/docs/ops/configuration/traffic-management/traffic-routing/"


@check(
    "MC-DISCOVERY-007",
    "A headless service's instances on the client's network answer at their own addresses, and its "
    "name leads nowhere else.",
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url=ROUTING + "#headless-services",
    explained_by=BELOW_REACH,
    sees=headless_calls,
)
def headless_instances_reached(
    here: Here, seen: tuple[tuple[HeadlessName, ...], float | None]
) -> Verdict:
    """Instances answer at their addresses, and the name leads to those on the client's network.

    - A headless service's name stands for pod addresses, and sidecars have a listener for each of
      them (the page that is referred to).
    - So its instances in other networks cannot be reached under it, whatever the mesh does: no
      gateway is asked for a pod's address (https://github.com/istio/istio/issues/38327).
    - Where sidecars answer DNS queries, the name holds the instances of every cluster on the
      client's network (ENABLE_MULTICLUSTER_HEADLESS of pilot-discovery), else the cluster's DNS
      gives those of the client's own.
    """
    by_name, seconds = seen
    known = {name.source: name for name in reversed(by_name)}
    found: list[Found] = []
    for cluster in here.mesh.spec.data_planes:
        name = known.get(cluster.name)
        if name is None or not name.calls:
            missing = "nothing was asked under the name of the headless service"
            found.append(Gap(f"{cluster.name}: {missing}"))
            continue
        for call in name.calls:
            found += _call(here, name, call)
        found += _name(here, name)
    verdict = verdict_from(found, _passed(here.mesh, by_name), pairs=pair_names(here.mesh))
    what = "a headless service answers at every instance's address"
    return verdict.with_convergence(what, seconds)


def _passed(mesh: Mesh, seen: Sequence[HeadlessName]) -> str:
    instances = sum(len(name.calls) for name in seen)
    text = (
        f"{instances} times an instance on the client's network answered at its own address, with "
        "mutual TLS over HTTP, and over TCP"
    )
    captured = [name.source for name in seen if name.captured]
    if captured:
        text += f"; in {names(captured)} the name leads to those of every cluster on the network"
    if own := [name.source for name in seen if not name.captured]:
        others = "as the cluster's DNS knows no others"
        text += f"; in {names(own)} the name leads to those of the own cluster, {others}"
    if len(mesh.spec.networks) > 1:
        text += (
            "; those on other networks cannot be reached under it, and its name does not lead there"
        )
    return text


def _call(here: Here, name: HeadlessName, call: HeadlessCall) -> Iterator[Found]:
    probes, commands = here.mesh.require_probes(), Commands(here.snapshot)
    where = (call.source, call.target) if call.source != call.target else (call.source,)
    client, address = probes.client_pod(call.source), f"--address={call.address}"
    listeners = commands.proxy_config(call.source, "listeners", client, address)
    under, budget = f"under the headless name {name.host}", here.timeouts.endpoint_propagation
    for request, how in ((call.http, "with mutual TLS over HTTP"), (call.tcp, "over TCP")):
        if not request.succeeded or request.answer is None:
            pod = f"{call.pod} in {call.target}"
            yield Finding(
                f"{call.source} does not reach {pod} {how} at its address, {under}",
                where,
                expected=f"an answer from {call.pod} within {budget:g} s",
                seen=f"{request.failure} ({call.address}:{request.port})",
                remedy=listeners,
                fault="headless-instance-not-reached",
            )
        elif request.answer.pod != call.pod:
            place = f"at the address of {call.pod} in {call.target}, {under}"
            yield Finding(
                f"{call.source}: {place}, another pod answers",
                where,
                expected=f"an answer from {call.pod} at {call.address}:{request.port}",
                seen=f"{request.answer.pod} in {request.answer.cluster}",
                remedy=listeners,
                fault="headless-answered-elsewhere",
            )
    answer = call.http.answer
    expected = identity(here.mesh, call.source, probes.client(call.source).service_account)
    if answer is not None and answer.pod == call.pod and answer.caller != expected:
        yield Finding(
            f"{call.pod} in {call.target} does not know who asks it {under}",
            where,
            expected=expected,
            seen=answer.caller or "no client certificate",
            remedy=commands.kubectl(call.source, "get destinationrules,peerauthentications -A"),
            fault="headless-without-identity",
        )


def _name(here: Here, name: HeadlessName) -> Iterator[Found]:
    probes, spec = here.mesh.require_probes(), here.mesh.spec
    network = spec.cluster(name.source).network
    python = "import socket, sys; print(socket.gethostbyname_ex(sys.argv[1])[2])"
    remedy = Commands(here.snapshot).kubectl(
        name.source,
        "exec -c probe",
        f"pod/{probes.client(name.source).name}",
        *("--", "python3", "-c", python, name.host),
        namespace=probes.namespace,
    )
    leads = f"{name.source}: the headless name {name.host}"
    for cluster in spec.data_planes:
        pods = {pod.ip: pod.name for pod in probes.servers(cluster.name)}
        missing = sorted(set(pods) - set(name.addresses))
        astray = sorted(set(pods) & set(name.addresses))
        must = cluster.name == name.source or (name.captured and cluster.network == network)
        if must and missing:
            absent = names(pods[ip] for ip in missing)
            yield Finding(
                f"{leads} does not lead to {absent} in {cluster.name}",
                (name.source, cluster.name) if cluster.name != name.source else (name.source,),
                expected=f"{names(pods)} among its addresses",
                seen=names(name.addresses),
                remedy=remedy,
                fault="headless-name-incomplete",
            )
        if cluster.network != network and astray:
            there = names(pods[ip] for ip in astray)
            no_way = f"there is no way to a pod's address on {cluster.network}"
            yield Finding(
                f"{leads} leads to {there} in {cluster.name}, on another network",
                (name.source, cluster.name),
                expected=f"addresses on {network} only: {no_way}",
                seen=names(name.addresses),
                remedy=remedy,
                fault="headless-name-astray",
            )

"""Headless services, live: MC-DISCOVERY-007."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...mesh import Mesh
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_REACH, Kind, check
from ..judging import Found, Gap, names, verdict_from
from ..remedies import istioctl, kubectl
from ..replies import identity, pair_names, probes_of
from .facts import HeadlessCall, HeadlessName


@check(
    "MC-DISCOVERY-007",
    "A headless service's instances on the client's network answer at their own addresses, and its name leads nowhere else.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url="https://istio.io/latest/docs/ops/configuration/traffic-management/traffic-routing/#headless-services",
    explained_by=BELOW_REACH,
)
def headless_instances_reached(
    mesh: Mesh, seen: Sequence[HeadlessName], budget_seconds: float
) -> Verdict:
    """A headless service's name stands for pod addresses, and sidecars have a listener for each of them (the page that is referred to).

    So its instances in other networks cannot be reached under it, whatever the mesh does: no gateway is asked for a pod's address
    (https://github.com/istio/istio/issues/38327). Where sidecars answer DNS queries the name holds the instances of every cluster on the
    client's network (ENABLE_MULTICLUSTER_HEADLESS of pilot-discovery), else the cluster's DNS gives those of the client's own.
    """
    found: list[Found] = []
    for cluster in mesh.spec.data_planes:
        one = next((name for name in seen if name.source == cluster.name), None)
        if one is None or not one.calls:
            found.append(
                Gap(f"{cluster.name}: nothing was asked under the name of the headless service")
            )
            continue
        for call in one.calls:
            found += _call(mesh, one, call, budget_seconds)
        found += _name(mesh, one)
    return verdict_from(found, _otherwise(mesh, seen), pairs=pair_names(mesh))


def _otherwise(mesh: Mesh, seen: Sequence[HeadlessName]) -> str:
    instances = sum(len(name.calls) for name in seen)
    text = f"{instances} times an instance on the client's network answered at its own address, with mutual TLS over HTTP, and over TCP"
    captured = [name.source for name in seen if name.captured]
    if captured:
        text += f"; in {names(captured)} the name leads to those of every cluster on the network"
    if len(captured) < len(seen):
        own = [name.source for name in seen if not name.captured]
        text += f"; in {names(own)} the name leads to those of the own cluster, as the cluster's DNS knows no others"
    if len(mesh.spec.networks) > 1:
        text += (
            "; those on other networks cannot be reached under it, and its name does not lead there"
        )
    return text


def _call(mesh: Mesh, name: HeadlessName, call: HeadlessCall, budget: float) -> Iterator[Found]:
    where = (call.source, call.target) if call.source != call.target else (call.source,)
    listeners = istioctl(
        mesh,
        call.source,
        f"proxy-config listeners {_client(mesh, call.source)} --address {call.address}",
    )
    for request, how in ((call.http, "with mutual TLS over HTTP"), (call.tcp, "over TCP")):
        if not request.succeeded or request.answer is None:
            yield Finding(
                f"{call.source} does not reach {call.pod} in {call.target} {how} at its address, under the headless name {name.host}",
                where,
                expected=f"an answer from {call.pod} within {budget:g} s",
                seen=f"{request.failure} ({call.address}:{request.port})",
                remedy=listeners,
                fault="headless-instance-not-reached",
            )
        elif request.answer.pod != call.pod:
            yield Finding(
                f"{call.source}: at the address of {call.pod} in {call.target}, under the headless name {name.host}, another pod answers",
                where,
                expected=f"an answer from {call.pod} at {call.address}:{request.port}",
                seen=f"{request.answer.pod} in {request.answer.cluster}",
                remedy=listeners,
                fault="headless-answered-elsewhere",
            )
    answer = call.http.answer
    expected = identity(mesh, call.source, probes_of(mesh).client(call.source).service_account)
    if answer is not None and answer.pod == call.pod and answer.caller != expected:
        yield Finding(
            f"{call.pod} in {call.target} does not know who asks it under the headless name {name.host}",
            where,
            expected=expected,
            seen=answer.caller or "no client certificate",
            remedy=kubectl(mesh, call.source, "get destinationrules,peerauthentications -A"),
            fault="headless-without-identity",
        )


def _name(mesh: Mesh, name: HeadlessName) -> Iterator[Found]:
    probes, spec = probes_of(mesh), mesh.spec
    network = spec.cluster(name.source).network
    dns = kubectl(
        mesh,
        name.source,
        f"-n {probes.namespace} exec {probes.client(name.source).name} -c probe -- python3 -c ",
    )
    look = dns + f"\"import socket; print(socket.gethostbyname_ex('{name.host}')[2])\""
    for cluster in spec.data_planes:
        pods = {pod.ip: pod.name for pod in probes.servers(cluster.name)}
        missing = sorted(set(pods) - set(name.addresses))
        astray = sorted(set(pods) & set(name.addresses))
        must = cluster.name == name.source or (name.captured and cluster.network == network)
        if must and missing:
            yield Finding(
                f"{name.source}: the headless name {name.host} does not lead to {names(pods[ip] for ip in missing)} in {cluster.name}",
                (name.source, cluster.name) if cluster.name != name.source else (name.source,),
                expected=f"{names(pods)} among its addresses",
                seen=names(name.addresses),
                remedy=look,
                fault="headless-name-incomplete",
            )
        if cluster.network != network and astray:
            yield Finding(
                f"{name.source}: the headless name {name.host} leads to {names(pods[ip] for ip in astray)} in {cluster.name}, on another "
                "network",
                (name.source, cluster.name),
                expected=f"addresses on {network} only: there is no way to a pod's address on {cluster.network}",
                seen=names(name.addresses),
                remedy=look,
                fault="headless-name-astray",
            )


def _client(mesh: Mesh, source: str) -> str:
    return f"{probes_of(mesh).client(source).name}.{probes_of(mesh).namespace}"

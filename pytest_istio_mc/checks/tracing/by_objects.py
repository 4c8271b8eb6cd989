"""By objects: each hop of a call, examined by the objects that decide on it."""

from __future__ import annotations

from collections.abc import Callable

from ... import shell
from ...shell import NO_REMEDY, Remedy
from ...verdicts import Weight
from ..judging import names
from ..services.authorisation import Policies
from ..services.blame import shown
from ..services.demands import AUTOMATIC, DISABLE, MUTUAL, PLAIN, STRICT, use_of
from ..services.reach import State as Reached
from ..services.routes import Lead, leads, wrong_lead
from ..services.view import DEMAND, POLICY, ROUTE, RULE, SIDECAR, Service
from . import symptoms
from .admitted import admission
from .call import Call
from .trace import Hop, State

Examine = Callable[[Call], Hop]


def _good(seen: str, *clusters: str) -> Hop:
    return Hop("", State.GOOD, seen=seen, clusters=clusters)


def _unknown(seen: str, *clusters: str) -> Hop:
    return Hop("", State.UNKNOWN, seen=seen, clusters=clusters)


def _broken(expected: str, seen: str, remedy: Remedy, *clusters: str, fault: str = "") -> Hop:
    return Hop("", State.BROKEN, expected, seen, remedy, clusters, fault)


def _service(call: Call) -> Service | Hop:
    """The service behind the host, or what is to be said where there is none."""
    if call.service is not None:
        return call.service
    if call.view.knows(call.host):
        return _unknown(f"{call.host} is of a ServiceEntry: what it leads to is not followed")
    look = call.commands.kubectl(call.caller.cluster, "get services --all-namespaces")
    expected = f"a Service or ServiceEntry {call.host}"
    return _broken(expected, "no cluster of the mesh has it", look, call.caller.cluster)


def _client_proxy(call: Call) -> Hop:
    here = call.caller.cluster
    if not call.pods:
        return _unknown(f"no pod of {call.caller} was recorded", here)
    without = [one for one in call.pods if not one.has_sidecar]
    if not without:
        return _good(f"{len(call.pods)} pods with a sidecar", here)
    seen = f"{names(one.name for one in without[:3])} without sidecar"
    if call.caller.namespace in call.view.ambient(here):
        return _unknown(f"{seen}, in an ambient namespace", here)
    if call.target == here:
        return _unknown(f"{seen}: it calls past the mesh, which rules do not reach", here)
    look = call.commands.kubectl(
        here, "get", f"pod/{without[0].name}", "-o", "yaml", namespace=call.caller.namespace
    )
    todo = "label the namespace for injection, and restart the workload"
    expected = "a sidecar, without which no other cluster is known"
    return _broken(expected, seen, shell.with_note(look, todo), here)


def _dns(call: Call) -> Hop:
    here, service = call.caller.cluster, call.service
    if service is None:
        return _unknown(f"{call.host} is no Service: who answers is not recorded", here)
    if here in service.copies:
        address = service.copies[here]["spec"].get("clusterIP") or "no address"
        return _good(f"Service {service} of {here} has {address}", here)
    metadata = (call.view.mesh.get("defaultConfig") or {}).get("proxyMetadata") or {}
    if str(metadata.get("ISTIO_META_DNS_CAPTURE", "")).lower() == "true":
        return _good("the DNS proxy of the sidecar knows the hosts of the mesh", here)
    there = next(iter(service.copies))
    make = call.commands.show(there, "services", service.copies[there])
    todo = f"apply it to {here}, too, or let sidecars answer: ISTIO_META_DNS_CAPTURE"
    expected = f"a Service {service} in {here}, so that the name has an address"
    return _broken(expected, "no such Service", shell.with_note(make, todo), here)


def _listener(call: Call) -> Hop:
    """Whether the caller's proxy is told of the host at all."""
    here, found = call.caller.cluster, _service(call)
    if isinstance(found, Hop):
        return found
    view = call.view
    if found.host not in view.services:
        look = call.commands.kubectl(here, "get namespace --show-labels", found.namespace)
        todo = "label it as the discoverySelectors of the mesh configuration demand"
        seen = f"the discoverySelectors of {view.plane.name} leave {found.namespace} out"
        expected = f"namespace {found.namespace} among those that istiod discovers"
        return _broken(expected, seen, shell.with_note(look, todo), here)
    if not view.sees(found, call.caller.namespace):
        there = next(iter(found.copies))
        look = call.commands.show(there, "services", found.copies[there])
        todo = f"let networking.istio.io/exportTo have {call.caller.namespace}"
        expected = f"Service {found} exported to {call.caller.namespace}"
        seen = "its exportTo leaves that namespace out"
        return _broken(expected, seen, shell.with_note(look, todo), here)
    if not call.is_told(found.host, found.namespace) and call.sidecar is not None:
        where = view.where(SIDECAR, call.sidecar)
        hosts = [host for one in call.sidecar["spec"]["egress"] for host in one.get("hosts") or ()]
        seen = f"{where} has only {names(hosts)}: spec.egress[].hosts"
        remedy = shown(
            view, SIDECAR, call.sidecar, f"add {found.namespace}/{found.host} to its egress hosts"
        )
        return _broken(f"{found.host} among the hosts of the Sidecar", seen, remedy, here)
    by = f"; {view.where(SIDECAR, call.sidecar)} has it" if call.sidecar is not None else ""
    return _good(f"istiod of {view.plane.name} tells it of {found}{by}", here)


def _leads(call: Call) -> list[Lead]:
    return [one for item in call.routes for one in leads(call.view, item) if not one.copies]


def _route(call: Call) -> Hop:
    here = call.caller.cluster
    if not call.routes:
        return _good("no VirtualService: straight to the service", here)
    where = names(call.view.where(ROUTE, one) for one in call.routes)
    every = _leads(call)
    for lead in every:
        wrong = [one for one in wrong_lead(call.view, lead) if one.weight is Weight.BROKEN]
        for one in wrong:
            if not one.fault.startswith("route-subset"):
                return _broken(one.expected, f"{where}, {one.seen}", one.remedy, here)
    if len(call.routes) > 1:
        return _unknown(f"{where}: sidecars follow one of them", here)
    told = dict.fromkeys(f"{one.host}{f' {one.subset}' if one.subset else ''}" for one in every)
    if every and not any(one.host == call.host for one in every):
        return _unknown(f"{where} leads to {names(told)} instead: ask for these", here)
    return _good(f"{where} leads to {names(told) if told else 'another answer'}", here)


def _cluster(call: Call) -> Hop:
    here, found = call.caller.cluster, _service(call)
    if isinstance(found, Hop):
        return found
    for lead in _leads(call):
        for one in wrong_lead(call.view, lead):
            if one.fault.startswith("route-subset"):
                return _broken(one.expected, one.seen, one.remedy, here)
    rule = call.view.rule_of(found.host, found, call.caller.namespace, call.labels)
    if rule is None:
        return _good("no DestinationRule", here)
    return _good(f"{call.view.where(RULE, rule)} is followed", here)


def _endpoint(call: Call) -> Hop:
    here, found = call.caller.cluster, _service(call)
    if isinstance(found, Hop):
        return found
    number = call.endpoints
    if number is None:
        return _unknown(f"what istiod of {call.view.plane.name} holds was not recorded", here)
    if not number:
        own = call.target_view.count(found, call.target)
        look = call.commands.show(call.target, "services", found.copies[call.target])
        if own:
            seen = f"istiod of {call.view.plane.name} holds none, that of {call.target} {own}"
            todo = "MC-ACCESS and MC-DISCOVERY tell why"
        elif call.servers:
            seen = f"none of {len(call.servers)} pods is an endpoint: not ready, or no such port"
            todo = "look at the pods, and at targetPort"
        else:
            labels = ", ".join(f"{k}={v}" for k, v in found.selector(call.target).items())
            seen = f"no pod in {call.target} has {labels or 'been chosen'}"
            todo = "correct the selector, or let such pods run"
        expected = f"a ready instance in {call.target}"
        return _broken(expected, seen, shell.with_note(look, todo), here, call.target)
    if here == call.target:
        return _good(f"{number} in {call.target}", here)
    reach = call.reaching.to(found, call.target, call.caller.namespace)
    if reach.state is Reached.APART and reach.fault == "reach-cluster-local":
        expected = f"the {number} endpoints of {call.target}"
        seen = f"{reach.why}: {reach.line}"
        return _broken(expected, seen, reach.remedy, here, call.target, fault=reach.fault)
    return _good(f"{number} in {call.target}", here, call.target)


def _client_tls(call: Call) -> Hop:
    here, found = call.caller.cluster, _service(call)
    if isinstance(found, Hop):
        return found
    pair = (here, call.target)
    use = use_of(call.view, found, call.caller.namespace, call.port, _subset(call), call.labels)
    said = f"{call.view.where(RULE, use.item)}, {use.line}" if use.item else "istiod decides"
    said = said if use.item or use.mode == AUTOMATIC else "enableAutoMtls is false"
    within = [one for one in call.servers if one.has_sidecar]
    if not call.servers:
        return _unknown("which pods answer is not known", *pair)
    remedy = (
        shown(call.view, RULE, use.item, "take tls out: istiod then decides")
        if use.item
        else NO_REMEDY
    )
    demand = call.demands[call.target][1].of_pods(within, 0) if within else None
    strict = demand is not None and demand.mode == STRICT
    if use.mode in (PLAIN, "SIMPLE"):
        if call.crosses:
            expected = "mutual TLS, which gateways of other networks take only"
            return _broken(expected, said, remedy, *pair, fault="dr-tls-disable")
        if strict:
            expected = "mutual TLS, which the pods take only"
            return _broken(expected, said, remedy, *pair, fault="dr-tls-disable")
        return _good(f"{use.mode}: {said}", *pair)
    if use.mode == MUTUAL and not within:
        expected = "plaintext: the pods have no sidecar"
        return _broken(expected, said, remedy, *pair)
    if call.crosses and not within:
        look = call.commands.show(call.target, "services", found.copies[call.target])
        todo = "give its pods a sidecar"
        expected = f"pods with a sidecar in {call.target}, which gateways lead to only"
        seen = f"{len(call.servers)} pods without"
        return _broken(expected, seen, shell.with_note(look, todo), *pair)
    if call.crosses:
        reach = call.reaching.to(found, call.target, call.caller.namespace)
        if reach.fault == "reach-plaintext":
            expected = "mutual TLS, which gateways of other networks take only"
            return _broken(expected, f"{reach.why}: {reach.line}", reach.remedy, *pair)
    return _good(f"{'mutual TLS' if within else 'plaintext'}: {said}", *pair)


def _subset(call: Call) -> str:
    """The subset to which the caller's requests go, where there is one only."""
    found = {one.subset for one in _leads(call) if one.host == call.host and one.weight}
    return found.pop() if len(found) == 1 else ""


def _gateway(call: Call) -> Hop:
    found = _service(call)
    if isinstance(found, Hop):
        return found
    pair = (call.caller.cluster, call.target)
    reach = call.reaching.to(found, call.target, call.caller.namespace)
    if reach.state is Reached.UNKNOWN:
        return _unknown(reach.why, *pair)
    if reach.fault == "reach-not-exposed":
        expected = f"a gateway that passes {found.host} on"
        return _broken(expected, reach.why, reach.remedy, call.target, fault=reach.fault)
    return _good(f"the gateways of {call.target} pass {found.host} on", *pair)


def _inbound(call: Call) -> Hop:
    within = [one for one in call.servers if one.has_sidecar]
    if not within:
        return _good("the pods have no sidecar, and take what they are sent", call.target)
    holder, demands = call.demands[call.target]
    demand = demands.of_pods(within)
    if demand is None:
        return _unknown("PeerAuthentications say different things of the pods", call.target)
    if demand.item is None:
        return _good("mutual TLS and plaintext are taken: no PeerAuthentication", call.target)
    said = f"{holder.where(DEMAND, demand.item)}: {demand.mode}"
    believed = call.demands[call.caller.cluster][1].of_pods(within)
    if demand.mode == DISABLE and (call.crosses or (believed and believed.mode != DISABLE)):
        remedy = shown(holder, DEMAND, demand.item, "set mtls.mode to PERMISSIVE")
        expected = "mutual TLS is taken, which is what arrives"
        return _broken(expected, said, remedy, call.target, fault="peerauth-disable")
    return _good(said, call.target)


def _authorisation(call: Call) -> Hop:
    found = _service(call)
    if isinstance(found, Hop):
        return found
    within = [one for one in call.servers if one.has_sidecar]
    if not within:
        return _good("without a sidecar no policy is carried out", call.target)
    holder = call.target_view
    answer = admission(Policies(holder), call, within[0])
    if answer.admitted is None:
        return _unknown(answer.why, call.target)
    if answer.admitted:
        return _good(answer.why, call.target)
    todo = f"let a rule of it have {call.caller.namespace}/{call.caller.workload}, if that is meant"
    remedy = shown(holder, POLICY, answer.item, todo) if answer.item else NO_REMEDY
    return _broken(f"{call.caller} may call {found}", answer.why, remedy, call.target)


def _application(call: Call) -> Hop:
    if not call.endpoints:
        return _unknown("what answers is not known", call.target)
    return _good(f"{call.endpoints} ready in {call.target}", call.target)


HOPS: dict[str, Examine] = {
    symptoms.CLIENT_PROXY: _client_proxy,
    symptoms.DNS: _dns,
    symptoms.LISTENER: _listener,
    symptoms.ROUTE: _route,
    symptoms.CLUSTER: _cluster,
    symptoms.ENDPOINT: _endpoint,
    symptoms.CLIENT_TLS: _client_tls,
    symptoms.GATEWAY: _gateway,
    symptoms.INBOUND: _inbound,
    symptoms.AUTHORISATION: _authorisation,
    symptoms.APPLICATION: _application,
}
"""The hops of which objects say something, by the names that all traces use."""

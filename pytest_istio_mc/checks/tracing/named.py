"""Named: the object behind a broken hop of the probes' path, where one decides it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ...errors import ObservationError
from . import by_objects, symptoms
from .call import Call, Caller, known_views
from .path import PathFacts
from .trace import Hop, State
from .walking import walk

_DECIDED = frozenset(
    {
        symptoms.LISTENER,
        symptoms.ROUTE,
        symptoms.CLUSTER,
        symptoms.CLIENT_TLS,
        symptoms.GATEWAY,
        symptoms.INBOUND,
        symptoms.AUTHORISATION,
    }
)
"""The hops that rules and policies decide; of the others proxies and pods tell more."""


def with_objects(
    path: PathFacts, hops: Sequence[Hop], left_out: Collection[str]
) -> tuple[Hop, ...]:
    """The hops, the broken one with the object of users that breaks it.

    What proxies hold follows from objects: where one keeps the client from the servers, that is
    the cause, and its change the remedy. A hop whose fault is known stays as it is.
    """
    broken = next((hop for hop in hops if hop.state is State.BROKEN), None)
    if broken is None or broken.fault:
        return tuple(hops)
    try:
        call = _call(path)
    except ObservationError:
        return tuple(hops)
    examined = {name: examine for name, examine in by_objects.HOPS.items() if name not in left_out}
    order = [hop.name for hop in hops]
    cause = next((hop for hop in walk(examined, call, {}) if hop.state is State.BROKEN), None)
    if cause is None or cause.name not in _DECIDED:
        return tuple(hops)
    if order.index(cause.name) > order.index(broken.name):
        return tuple(hops)
    seen = f"{broken.seen}: {cause.seen}"
    found = replace(broken, seen=seen, remedy=cause.remedy, fault=cause.fault)
    return tuple(found if hop is broken else hop for hop in hops)


def _call(path: PathFacts) -> Call:
    probes, known = path.snapshot.require_probes(), known_views(path.snapshot)
    if path.source not in known:
        raise ObservationError(f'cluster "{path.source}"', "has no control plane of its own")
    host = f"{probes.service}.{probes.namespace}.svc.{known[path.source].domain}"
    pod = probes.client(path.source).name
    caller = Caller(path.source, probes.namespace, pod)
    return Call(known, caller, host, path.port, path.target)

"""Sampling: many requests from every client, sent anew once they are led right."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from ..errors import NotInTime
from ..eventually import eventually
from ..observations import Request
from ..samples import Sample, Stage
from . import manifests
from .traffic import AT_FIRST, Traffic

CONCURRENCY = 4
"""How many requests of one sample are under way at a time."""


def settled(
    traffic: Traffic,
    name: str,
    wanted: Sequence[Sample],
    size: int,
    *,
    headers: Mapping[str, Mapping[str, str]] | None = None,
    within_seconds: float | None = None,
) -> Stage:
    """Send samples until they come out as they should, then anew to be judged.

    - The first ones find out when configuration is in force everywhere: so no request is judged
      that was on its way before, and none that failed is sent again.
    - At least one sample must be such that only the configuration leads it as it should be led.
    - Samples that do not come out so ``within_seconds`` (``config_propagation`` where it is None)
      are judged all the same.
    - Those to be judged have ``size`` requests, or fewer where all the clusters that should answer
      have done so before.
    - ``headers`` are those of each case.
    """
    budget = traffic.timeouts.config_propagation if within_seconds is None else within_seconds
    began = time.monotonic()
    addresses = by_name_alone(traffic)

    def send(sample: Sample, count: int) -> Sample:
        return taken(traffic, sample, count, (headers or {}).get(sample.case), addresses)

    def settle(sample: Sample) -> float | None:
        some, what = partial(send, sample, min(size, AT_FIRST)), f"{sample.source}: {sample.case}"
        try:
            eventually(some, lambda sent: sent.as_expected, within_seconds=budget, what=what)
        except NotInTime:
            return None
        return time.monotonic() - began

    def judged(sample: Sample) -> Sample:
        requests: tuple[Request, ...] = ()
        while len(requests) < size and (not requests or replace(sample, requests=requests).missing):
            some = min(AT_FIRST, size - len(requests))
            sent = send(sample, some).requests
            requests += sent
            if len(sent) < some and not any(request.succeeded for request in sent):
                break  # the client gave up, and nobody is there who could be seen by more requests
        return replace(sample, requests=requests)

    settling = traffic.from_each(wanted, settle)
    seconds = [one for one in settling if one is not None]
    sent = tuple(traffic.from_each(wanted, judged))
    return Stage(name, sent, max(seconds) if len(seconds) == len(settling) else None)


def taken(
    traffic: Traffic,
    sample: Sample,
    size: int,
    headers: Mapping[str, str] | None = None,
    addresses: Mapping[str, str] | None = None,
) -> Sample:
    """The sample with ``size`` requests, sent now, over new connections.

    ``addresses`` are where each cluster's requests go, under the sample's name.
    """
    sent = traffic.requests(
        sample.source,
        sample.host,
        manifests.HTTP,
        count=size,
        concurrency=CONCURRENCY,
        headers=headers,
        address=(addresses or {}).get(sample.source, ""),
    )
    return replace(sample, requests=sent)


def by_name_alone(traffic: Traffic) -> dict[str, str]:
    """An address in each cluster for requests that a sidecar leads by their name.

    - A new name is not looked up: name servers remember for seconds that there was none yet
      (RFC 2308).
    - A new Service is not asked at its own address: a sidecar that does not know it yet connects
      there itself. Where nobody answers, the kernel remembers that connection for two minutes
      (nf_conntrack_tcp_timeout_syn_sent). It then takes a later one of the client's from the same
      port for it, which goes past the sidecar.
    """
    clusters = [cluster.name for cluster in traffic.mesh.spec.data_planes]
    host = traffic.host(traffic.probes.service)
    found = traffic.from_each(clusters, lambda cluster: traffic.resolve(cluster, host))
    resolved = zip(clusters, found, strict=True)
    return {cluster: addresses[0] for cluster, addresses in resolved if addresses}

"""Judges injection, istiods and proxies while a change went on, from their samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...verdicts import Finding
from ..judging import Found, Gap
from ..remedies import Commands
from ..site import Here
from .facts import INJECTION_SECONDS, Admission, IstiodLook, IstiodPod, Watched
from .losses import clock

# injection


def injection(here: Here, seen: Watched) -> Iterator[Found]:
    """Pods admitted without a sidecar, or refused for longer than who makes pods should wait."""
    for why in seen.missing("injection"):
        yield Gap(why)
    known = {look.cluster for look in seen.admissions}
    for cluster in (one.name for one in here.mesh.spec.data_planes):
        if cluster not in known:
            yield Gap(f"no pod was to be admitted in {cluster}")
            continue
        mine = [look for look in seen.admissions if look.cluster == cluster]
        if not any(look.accepted for look in mine if look.when <= seen.command.began):
            why = mine[0].error or "a pod was admitted without a sidecar"
            yield Gap(f"{cluster} gave new pods no sidecars before the command: {why}")
            continue
        yield from _refused(here, seen, cluster, mine)


def _refused(
    here: Here, seen: Watched, cluster: str, mine: Sequence[Admission]
) -> Iterator[Finding]:
    after = [look for look in mine if look.when > seen.command.began]
    remedy = Commands(here.snapshot).kubectl(
        cluster, "get mutatingwebhookconfigurations -l app=sidecar-injector -o yaml"
    )
    bare = [look for look in after if not look.error and not look.injected]
    if bare:
        yield Finding(
            f"{cluster} admitted new pods without a sidecar from {clock(bare[0].when)} on",
            clusters=(cluster,),
            expected="every new pod of an injected namespace gets a sidecar, or is refused",
            seen=f"a pod in {seen.namespace} was admitted without one",
            remedy=remedy,
            fault="not-injected-while-changed",
        )
    begin, end, error = _longest_refusal(after, seen.ended)
    ends_refused = bool(after) and bool(after[-1].error)
    if error and (end - begin > INJECTION_SECONDS or ends_refused):
        still = ", and still did at the end" if ends_refused else ""
        yield Finding(
            f"{cluster} refused new pods for {end - begin:.0f} s from {clock(begin)} on{still}",
            clusters=(cluster,),
            expected=f"accepted again within {INJECTION_SECONDS:g} s",
            seen=error,
            remedy=remedy,
            fault="injection-refused-while-changed",
        )


def _longest_refusal(looks: Sequence[Admission], ended: float) -> tuple[float, float, str]:
    """From the first refused pod to the next accepted one, and the refusal's words."""
    longest, began, error = (0.0, 0.0, ""), 0.0, ""
    for look in looks:
        if look.error:
            began, error = (began or look.when), (error or look.error)
        if began and (not look.error or look is looks[-1]):
            end = ended if look.error else look.when
            longest = max(longest, (began, end, error), key=lambda one: one[1] - one[0])
        if not look.error:
            began, error = 0.0, ""
    return longest


def injection_told(seen: Watched) -> str:
    """How long new pods were refused at most, for each cluster where they were."""
    words = []
    for cluster in dict.fromkeys(look.cluster for look in seen.admissions):
        mine = [look for look in seen.admissions if look.cluster == cluster]
        begin, end, _ = _longest_refusal(mine, seen.ended)
        words.append(f"{cluster} {end - begin:.1f} s" if end else f"{cluster} not at all")
    return f"new pods were refused at a stretch, at the longest: {', '.join(words)}"


# endpoints, gateways, remote clusters


def reach(here: Here, seen: Watched) -> Iterator[Found]:
    """Endpoints, network gateways and remote clusters that were there before and then fewer."""
    for why in seen.missing("endpoints", "networkz", "clusterz"):
        yield Gap(why)
    if not seen.endpoints:
        yield Gap("the endpoints of no client's proxy could be read")
    if not any(look.gateways or not look.unread for look in seen.istiods):
        yield Gap("no istiod could be asked")
    yield from _endpoints(here, seen)
    yield from _istiods(here, seen)


def _endpoints(here: Here, seen: Watched) -> Iterator[Found]:
    pairs: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for look in seen.endpoints:
        pairs.setdefault((look.source, look.target), []).append((look.when, look.endpoints))
    for (source, target), looks in pairs.items():
        began = seen.command.began
        if not any(number for when, number in looks if when <= began):
            yield Gap(f"the proxy in {source} had no endpoint in {target} before the command")
            continue
        empty = [when for when, number in looks if when > began and not number]
        if empty:
            back = [when for when, number in looks if when > empty[0] and number]
            until = f"until {clock(back[0])}" if back else "to the end"
            proxies = Commands(here.snapshot).istioctl(source, "proxy-status")
            yield Finding(
                f"the client's proxy in {source} had no endpoint in {target} from "
                f"{clock(empty[0])} {until}",
                clusters=tuple(dict.fromkeys((source, target))),
                expected="one or more at any time",
                seen="none",
                remedy=proxies,
                fault="no-endpoints-while-changed",
            )


def _istiods(here: Here, seen: Watched) -> Iterator[Found]:
    for cluster in dict.fromkeys(look.cluster for look in seen.istiods):
        mine = [look for look in seen.istiods if look.cluster == cluster]
        before = [look for look in mine if look.when <= seen.command.began]
        after = [look for look in mine if look.when > seen.command.began]
        if not before:
            yield Gap(f"istiod in {cluster} was not asked before the command")
        if not after:
            yield Gap(f"istiod in {cluster} was not asked after the command began")
        yield from _fewer_gateways(here, cluster, before, after)
        yield from _lost_remotes(here, cluster, before, after)


def _fewer_gateways(
    here: Here, cluster: str, before: Sequence[IstiodLook], after: Sequence[IstiodLook]
) -> Iterator[Finding]:
    readable = [look for look in after if "networkz" not in look.unread]
    known: dict[str, int] = {}
    for look in before:
        for network, found in look.gateways.items():
            known[network] = max(known.get(network, 0), len(found))
    for network, number in known.items():
        fewer = [look for look in readable if len(look.gateways.get(network, ())) < number]
        if not fewer:
            continue
        least = min(len(look.gateways.get(network, ())) for look in fewer)
        still = ", and did at the end" if fewer[-1] is readable[-1] else ""
        yield Finding(
            f"istiod {fewer[0].pod} of {cluster} knew fewer gateways of {network} from "
            f"{clock(fewer[0].when)} on{still}",
            clusters=(cluster,),
            expected=f"{number}, as before the command",
            seen=f"{least}",
            remedy=Commands(here.snapshot).istio(cluster, "get pods -l", "app=istiod"),
            fault="gateways-fewer-while-changed",
        )


def _lost_remotes(
    here: Here, cluster: str, before: Sequence[IstiodLook], after: Sequence[IstiodLook]
) -> Iterator[Finding]:
    readable = [look for look in after if "clusterz" not in look.unread]
    known = {name for look in before for name in look.remotes}
    for name in sorted(known):
        lost = [look for look in readable if name not in look.remotes]
        if lost:
            still = ", and did at the end" if lost[-1] is readable[-1] else ""
            yield Finding(
                f"istiod {lost[0].pod} of {cluster} did not watch {name} from "
                f"{clock(lost[0].when)} on{still}",
                clusters=tuple(
                    dict.fromkeys((cluster, name) if name in _names(here) else (cluster,))
                ),
                expected=f"{', '.join(sorted(known))}, as before the command",
                seen=", ".join(sorted(lost[0].remotes)) or "none",
                remedy=Commands(here.snapshot).istioctl(cluster, "remote-clusters"),
                fault="remote-lost-while-changed",
            )


def _names(here: Here) -> set[str]:
    return {one.name for one in here.mesh.spec}


def reach_told(seen: Watched) -> str:
    """How much was looked at."""
    pairs = len({(look.source, look.target) for look in seen.endpoints})
    istiods = len({(look.cluster, look.pod) for look in seen.istiods})
    return (
        f"endpoints of {pairs} pairs were there each time; {istiods} istiods knew all gateways and "
        "remote clusters of before whenever they were asked"
    )


# configuration


def configuration(here: Here, seen: Watched) -> Iterator[Found]:
    """Crashes of istiods, refused configuration, and what proxies lack afterwards."""
    for why in seen.missing("metrics", "the proxy of"):
        yield Gap(why)
    yield from _crashes(here, seen)
    yield from _rejects(here, seen)
    yield from _lacking(here, seen)


def _crashes(here: Here, seen: Watched) -> Iterator[Found]:
    if not seen.pods:
        yield Gap("the pods of no istiod could be listed")
    for (cluster, pod), looks in _pods(seen).items():
        least, most = looks[0], looks[-1]
        if most.restarts > least.restarts:
            times = most.restarts - least.restarts
            yield Finding(
                f"a container of istiod {pod} of {cluster} ended by itself {_times(times)}",
                clusters=(cluster,),
                expected="new pods for new versions, and no container that ends by itself",
                seen=most.ended_with or "nobody knows how",
                remedy=Commands(here.snapshot).istio(cluster, "logs --previous", pod),
                fault="istiod-crashed-while-changed",
            )


def _pods(seen: Watched) -> dict[tuple[str, str], list[IstiodPod]]:
    found: dict[tuple[str, str], list[IstiodPod]] = {}
    for look in seen.pods:
        found.setdefault((look.cluster, look.pod), []).append(look)
    return found


def _rejects(here: Here, seen: Watched) -> Iterator[Found]:
    for cluster in dict.fromkeys(look.cluster for look in seen.istiods):
        before, more = 0.0, 0.0
        for pod in dict.fromkeys(look.pod for look in seen.istiods if look.cluster == cluster):
            looks = [
                look
                for look in seen.istiods
                if (look.cluster, look.pod) == (cluster, pod) and look.rejects is not None
            ]
            early = [look.rejects or 0.0 for look in looks if look.when <= seen.command.began]
            late = [look.rejects or 0.0 for look in looks if look.when > seen.command.began]
            before += max(early, default=0.0)
            more += max(0.0, max(late, default=0.0) - max(early, default=0.0))
        if not more:
            continue
        if before:
            yield Gap(
                f"proxies refused configuration of istiod of {cluster} {more:.0f} times, as they "
                f"did before the command ({before:.0f} times)"
            )
            continue
        yield Finding(
            f"proxies refused configuration of istiod of {cluster} {_times(int(more))}",
            clusters=(cluster,),
            expected="none, as before the command",
            seen=f"pilot_total_xds_rejects rose by {more:.0f}",
            remedy=Commands(here.snapshot).istioctl(cluster, "proxy-status"),
            fault="configuration-refused-while-changed",
        )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _lacking(here: Here, seen: Watched) -> Iterator[Found]:
    """Envoy clusters that went: others may take away theirs, those of the run have to stay."""
    after = {(look.cluster, look.pod): look for look in seen.proxies_after}
    if not seen.proxies_before:
        yield Gap("the proxies of no probe could be read before the command")
    for before in seen.proxies_before:
        now = after.get((before.cluster, before.pod))
        if now is None:
            continue  # its being unread is told
        ours = f".{seen.namespace}.svc."
        gone = sorted(set(before.inbound) - set(now.inbound))
        gone += sorted(name for name in set(before.outbound) - set(now.outbound) if ours in name)
        if gone:
            yield Finding(
                f"the proxy of {before.pod} in {before.cluster} lacks {len(gone)} Envoy clusters "
                "that it had before the command",
                clusters=(before.cluster,),
                expected="every cluster of before",
                seen=", ".join(gone[:5]) + (", …" if len(gone) > 5 else ""),
                remedy=Commands(here.snapshot).istioctl(before.cluster, "proxy-status"),
                fault="clusters-gone-while-changed",
            )


def configuration_told(seen: Watched) -> str:
    """What istiods and proxies did meanwhile."""
    pods = _pods(seen)
    began = seen.command.began
    new = [key for key, looks in pods.items() if looks[0].when > began]
    pushes: dict[tuple[str, str], list[float]] = {}
    for look in seen.istiods:
        if look.pushes is not None:
            pushes.setdefault((look.cluster, look.pod), []).append(look.pushes)
    total = sum(max(found) - (found[0] if key not in new else 0.0) for key, found in pushes.items())
    other = sum(
        len(set(before.outbound) ^ set(now.outbound))
        for before in seen.proxies_before
        for now in seen.proxies_after
        if (before.cluster, before.pod) == (now.cluster, now.pod)
    )
    roots = (
        {look.roots for look in seen.proxies_before},
        {look.roots for look in seen.proxies_after},
    )
    told = "the same roots as before" if roots[0] == roots[1] else "other roots than before"
    return (
        f"{len(pods)} istiod pods, {len(new)} of them new, no container ended by itself; no "
        f"configuration refused in {total:.0f} pushes; {len(seen.proxies_after)} probes' proxies "
        f"have every Envoy cluster of before ({other} of others came or went) and {told}"
    )

"""Demands: the mutual TLS that pods take, and that clients use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...selectors import matches
from ...snapshot import Object, namespace_of
from .pods import Pod
from .view import DEMAND, RULE, Service, View

STRICT, PERMISSIVE, DISABLE = "STRICT", "PERMISSIVE", "DISABLE"
AUTOMATIC, PLAIN, MUTUAL, OTHER = "automatic", "DISABLE", "ISTIO_MUTUAL", "other"


@dataclass(frozen=True)
class Demand:
    """The mode of mutual TLS that pods take, and the object that says so.

    No object: it is the default.
    """

    mode: str
    item: Object | None = None


@dataclass(frozen=True)
class Use:
    """The TLS that clients use, with the DestinationRule that says so.

    ``line``: where in its spec. ``mode``: :data:`AUTOMATIC` where istiod decides.
    """

    mode: str
    item: Object | None = None
    line: str = ""


class Demands:
    """What the PeerAuthentications of one control plane demand of pods."""

    def __init__(self, view: View) -> None:
        self._root = view.root
        self._by_namespace: dict[str, list[Object]] = {}
        for item in view.rules(DEMAND):
            self._by_namespace.setdefault(namespace_of(item), []).append(item)

    def of(self, namespace: str, labels: Mapping[str, str], port: int = 0) -> Demand | None:
        """The demand on a port of a pod; None where several contradict each other.

        Of a workload, else of its namespace, else of the mesh; what is unset is inherited (Istio,
        "PeerAuthentication").
        """
        here = self._by_namespace.get(namespace, ())
        mine = [one for one in here if _selector(one) and matches(_selector(one), labels)]
        whole = [one for one in here if not _selector(one)]
        mesh = [one for one in self._by_namespace.get(self._root, ()) if not _selector(one)]
        for level in (mine, whole, mesh):
            modes: dict[str, Object] = {}
            for item in level:
                ports = item["spec"].get("portLevelMtls") or {} if level is mine else {}
                own = (ports.get(str(port)) or {}).get("mode", "")
                mode = own if own not in ("", "UNSET") else _mode(item)
                if mode not in ("", "UNSET"):
                    modes.setdefault(mode, item)
            if len(modes) > 1:
                return None  # the oldest counts, and its age was not recorded
            for mode, item in modes.items():
                return Demand(mode, item)
        return Demand(PERMISSIVE)

    def of_pods(self, pods: Iterable[Pod], port: int = 0) -> Demand | None:
        """The one demand on all of these pods; None where they differ, or there are none."""
        found: dict[str, Demand] = {}
        seen: set[tuple[tuple[str, str], ...]] = set()
        for pod in pods:
            key = tuple(sorted(pod.labels.items())) if self._selecting(pod.namespace) else ()
            if key in seen:
                continue
            seen.add(key)
            one = self.of(pod.namespace, pod.labels, port)
            if one is None:
                return None
            found[one.mode] = one
        return next(iter(found.values())) if len(found) == 1 else None

    def _selecting(self, namespace: str) -> bool:
        return any(_selector(one) for one in self._by_namespace.get(namespace, ()))


def _selector(item: Object) -> Mapping[str, object]:
    found: Mapping[str, object] = item["spec"].get("selector") or {}
    return found if any(found.values()) else {}


def _mode(item: Object) -> str:
    return str((item["spec"].get("mtls") or {}).get("mode", ""))


def use_of(
    view: View,
    service: Service,
    caller: str,
    port: int = 0,
    subset: str = "",
    labels: Mapping[str, str] | None = None,
) -> Use:
    """The TLS that callers of a namespace use for a port of a service."""
    item = view.rule_of(service.host, service, caller, labels)
    if item is not None:
        spec = item["spec"]
        places = [("spec.trafficPolicy", spec.get("trafficPolicy") or {})]
        for number, one in enumerate(spec.get("subsets") or ()):
            if subset and one.get("name") == subset:
                path = f"spec.subsets[{number}].trafficPolicy"
                places.insert(0, (path, one.get("trafficPolicy") or {}))
        for path, policy in places:
            for number, one in enumerate(policy.get("portLevelSettings") or ()):
                if (one.get("port") or {}).get("number") == port:
                    # what a port says replaces all that is said for every port
                    mode = (one.get("tls") or {}).get("mode", "")
                    line = f"{path}.portLevelSettings[{number}].tls.mode: {mode or 'none'}"
                    return Use(mode or _automatic(view), item, line)
            if mode := (policy.get("tls") or {}).get("mode", ""):
                return Use(mode, item, f"{path}.tls.mode: {mode}")
    return Use(_automatic(view))


def _automatic(view: View) -> str:
    return PLAIN if view.mesh.get("enableAutoMtls") is False else AUTOMATIC


def rules_with_tls(view: View) -> Iterable[Object]:
    """The users' DestinationRules that say something of TLS."""
    for item in view.users(RULE):
        spec = item["spec"]
        policies = [spec.get("trafficPolicy") or {}]
        policies += [one.get("trafficPolicy") or {} for one in spec.get("subsets") or ()]
        if any(map(_says_tls, policies)):
            yield item


def _says_tls(policy: Mapping[str, Any]) -> bool:
    ports = policy.get("portLevelSettings") or ()
    return bool(policy.get("tls")) or any(one.get("tls") for one in ports)


def subsets_with_tls(item: Object) -> dict[str, Mapping[str, str]]:
    """The subsets of a rule that say something of TLS themselves, with their labels."""
    return {
        str(one.get("name", "")): one.get("labels") or {}
        for one in item["spec"].get("subsets") or ()
        if _says_tls(one.get("trafficPolicy") or {})
    }

"""What a run asked API servers for, by their own audit logs, and what it may."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_istio_mc.rights import Right
from pytest_istio_mc.roles import Places

READING = ("get", "list", "watch")
BY_DEFAULT = "/apis/authorization.k8s.io/"
"""Reviews of one's own rights are open to everybody who is somebody."""


@dataclass(frozen=True)
class Asked:
    """One request as the API server authorised it; ``namespace`` is empty for the cluster."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    status: int
    uri: str
    is_dry_run: bool = False

    def __str__(self) -> str:
        place = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}.{self.group} {self.name}{place}: {self.status}"

    @property
    def is_written(self) -> bool:
        """Whether it may have changed anything."""
        connects = self.resource in ("pods/exec", "pods/portforward")
        return not (self.verb in READING or self.is_dry_run or connects)


def asked(log: Path, user: str) -> list[Asked]:
    """All requests of a user, but for documents that are open to everybody."""
    return list(_asked(log, user))


def _asked(log: Path, user: str) -> Iterator[Asked]:
    for line in log.read_text().splitlines():
        event = json.loads(line)
        about = event.get("objectRef")
        if event["user"]["username"] != user or event["stage"] == "RequestReceived" or not about:
            continue
        resource = about["resource"]
        if below := about.get("subresource"):
            resource += f"/{below}"
        # the namespace of a Namespace is itself, in requests, and in RBAC none
        namespace = about.get("namespace", "") if resource != "namespaces" else ""
        yield Asked(
            event["verb"],
            about.get("apiGroup", ""),
            resource,
            namespace,
            about.get("name", ""),
            event.get("responseStatus", {}).get("code", 0),
            event["requestURI"],
            "dryRun=All" in event["requestURI"],
        )


def covering(
    rights: Iterable[Right], places: Places, one: Asked, own: Iterable[str]
) -> list[tuple[Right, str]]:
    """The rights that allow a request, with the verb of each that does."""
    return [
        (right, one.verb)
        for right in rights
        if (right.group, right.resource) == (one.group, one.resource)
        and one.verb in right.verbs
        and (not right.names or one.name in right.names)
        and _is_there(right, places, one, tuple(own))
    ]


def _is_there(right: Right, places: Places, one: Asked, own: tuple[str, ...]) -> bool:
    from pytest_istio_mc.rights import Where

    if right.where is Where.CLUSTER:
        return True
    if right.where is Where.OWN:
        return (one.name if one.resource == "namespaces" else one.namespace) in own
    return one.namespace in places.of(right)


def unused(used: Iterable[tuple[Right, str]], rights: Iterable[Right]) -> list[str]:
    """The verbs of rights that were not used, by resource.

    Of two rights to the same, it is enough that one was used.
    """
    found = {(right.group, right.resource, verb) for right, verb in used}
    granted = {
        (right.group, right.resource, verb): right for right in rights for verb in right.verbs
    }
    # server-side apply is a patch that needs the right to create, too
    found |= {(group, kind, "create") for group, kind, verb in found if verb == "patch"}
    # kubelet's streams are opened by GET or by POST, as the client likes
    found |= {
        (group, kind, verb)
        for group, kind, _ in found
        if kind in ("pods/exec", "pods/portforward")
        for verb in ("get", "create")
    }
    return sorted(
        f"{verb} {resource}.{group}" if group else f"{verb} {resource}"
        for group, resource, verb in granted
        if (group, resource, verb) not in found
    )

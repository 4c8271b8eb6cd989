"""Roles: RBAC manifests that grant rights and no more, with comments that say what for."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .istio_names import KUBE_SYSTEM
from .rights import Right, Where

GROUP = "rbac.authorization.k8s.io"
API = f"{GROUP}/v1"

NO_PREFIX = (
    "For the namespaces that runs make, istio-mc-…: RBAC cannot limit rights to names that begin "
    "so, and grants them everywhere. With --mesh-namespace they are granted in prepared namespaces "
    "only."
)


@dataclass(frozen=True)
class Places:
    """The namespaces behind the words of :class:`Where`.

    ``prepared``: namespaces in which runs put their probes; without any they make their own.
    """

    istio: str = "istio-system"
    gateways: tuple[str, ...] = ()
    prepared: tuple[str, ...] = ()

    def of(self, right: Right) -> tuple[str, ...]:
        """The namespaces of a right; ``""`` stands for all of them."""
        named = {
            Where.OWN: self.prepared or ("",),
            Where.ISTIO: (self.istio,),
            Where.GATEWAYS: self.gateways or (self.istio,),
            Where.KUBE_SYSTEM: (KUBE_SYSTEM,),
            Where.DEFAULT: ("default",),
            Where.CLUSTER: ("",),
        }
        return named[right.where]


@dataclass(frozen=True)
class Subject:
    """Who is given the roles: ``kind`` is ``User``, ``Group`` or ``ServiceAccount``."""

    kind: str
    name: str
    namespace: str = ""

    def to_dict(self) -> dict[str, str]:
        """As bindings have it."""
        if self.namespace:
            return {"kind": self.kind, "name": self.name, "namespace": self.namespace}
        return {"kind": self.kind, "name": self.name, "apiGroup": GROUP}


@dataclass(frozen=True)
class Role:
    """A ClusterRole, or a Role where it has a ``namespace``, with the rights that it grants."""

    name: str
    namespace: str
    rights: tuple[Right, ...]
    comment: str = ""

    @property
    def kind(self) -> str:
        """Its kind."""
        return "Role" if self.namespace else "ClusterRole"

    @property
    def rules(self) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
        """Its rules, each with the reasons for it."""
        return [
            (tuple(why), _rule(group, resources, verbs, names))
            for (group, verbs, names), (resources, why) in _together(self.rights).items()
        ]

    def manifest(self) -> dict[str, Any]:
        """It, without comments."""
        return {**_head(self.kind, self.name, self.namespace), "rules": [r for _, r in self.rules]}

    def binding(self, subject: Subject) -> dict[str, Any]:
        """What gives it to somebody."""
        reference = {"apiGroup": GROUP, "kind": self.kind, "name": self.name}
        head = _head(f"{self.kind}Binding", self.name, self.namespace)
        return {**head, "roleRef": reference, "subjects": [subject.to_dict()]}


def roles(rights: Iterable[Right], places: Places, name: str) -> list[Role]:
    """The roles that grant these rights: one of the cluster, one a namespace.

    What runs do in namespaces that they make is one of the cluster, too, and a role of its own.
    """
    own = f"{name}-own-namespaces"
    granted: dict[tuple[str, str], list[Right]] = {}
    for right in dict.fromkeys(rights):
        # somebody else makes, marks and removes prepared namespaces
        if right.where is Where.OWN and right.resource == "namespaces" and places.prepared:
            continue
        for namespace in places.of(right):
            everywhere = right.where is Where.OWN and not namespace
            granted.setdefault((own if everywhere else name, namespace), []).append(right)
    return [
        Role(called, namespace, tuple(mine), NO_PREFIX if called == own else "")
        for (called, namespace), mine in granted.items()
    ]


def to_yaml(wanted: Sequence[Role], subject: Subject | None, title: str) -> str:
    """The roles, and their bindings where there is a subject, as YAML with comments."""
    documents = [_commented(role) for role in wanted]
    if subject is not None:
        documents += [_dumped(role.binding(subject)) for role in wanted]
    head = "".join(f"# {line}\n" for line in title.splitlines())
    return head + "---\n".join(documents)


def _commented(role: Role) -> str:
    lines = [f"# {line}\n" for line in textwrap.wrap(role.comment, 98)]
    lines += [_dumped(_head(role.kind, role.name, role.namespace)), "rules:\n"]
    for why, rule in role.rules:
        for reason in why:
            lines += [f"# {line}\n" for line in textwrap.wrap(reason, 98)]
        lines.append(_dumped([rule]))
    return "".join(lines)


def _head(kind: str, name: str, namespace: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": API, "kind": kind, "metadata": metadata}


_Key = tuple[str, tuple[str, ...], tuple[str, ...]]


def _together(rights: Iterable[Right]) -> dict[_Key, tuple[list[str], list[str]]]:
    """Rules by group, verbs and names: their resources, and the reasons for them."""
    verbs: dict[tuple[str, str, tuple[str, ...]], dict[str, None]] = {}
    reasons: dict[tuple[str, str, tuple[str, ...]], dict[str, None]] = {}
    for right in rights:
        key = (right.group, right.resource, right.names)
        verbs.setdefault(key, {}).update(dict.fromkeys(right.verbs))
        reasons.setdefault(key, {})[f"To {right.why}."] = None
    grouped: dict[_Key, tuple[list[str], list[str]]] = {}
    for (group, resource, names), found in verbs.items():
        ordered = tuple(sorted(found, key=_VERBS.index))
        resources, why = grouped.setdefault((group, ordered, names), ([], []))
        resources.append(resource)
        why += (one for one in reasons[group, resource, names] if one not in why)
    return grouped


_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")


def _rule(
    group: str, resources: Sequence[str], verbs: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "apiGroups": [group],
        "resources": list(resources),
        "verbs": list(verbs),
    }
    return rule | ({"resourceNames": list(names)} if names else {})


def _dumped(document: Any) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes short lists in one line."""

    def in_one_line(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
        flow = all(isinstance(item, str) for item in items)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)

    Dumper.add_representer(list, in_one_line)
    text: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, width=98)
    return text

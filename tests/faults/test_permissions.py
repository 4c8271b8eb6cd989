"""Faults that touch other people's traffic do nothing unless they are permitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from pytest_istio_mc.errors import NotAllowed
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.faults import Faults
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import GatewayAddress
from pytest_istio_mc.rights import Permission
from tests.checks.live_mesh import mesh

GATEWAY = GatewayAddress("east", "network1", "istio-system/eastwest", "198.19.1.1", 15443)
OTHERS = {
    permission: [one for one in Permission if one is not permission] for permission in Permission
}
TIMEOUTS = replace(Timeouts(), heal=0.2)


@dataclass
class FakeKube:
    """One cluster with an east-west gateway and a remote secret; ``deleted`` is what was killed."""

    ready: tuple[bool, ...] = (True,)
    deleted: list[str] = field(default_factory=list)

    def read(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """Its Service, or its Deployment."""
        labels = {"app": "eastwest"}
        selector = labels if kind == "Service" else {"matchLabels": labels}
        return {"spec": {"selector": selector}}

    def list(self, kind: str, namespace: str, labels: str = "") -> list[dict[str, Any]]:
        """Its pods and ReplicaSet, or the remote secret for west."""
        if kind == "Secret":
            return [{"metadata": {"name": "istio-remote-secret-west"}, "data": {"west": "eA=="}}]
        owner = {"ReplicaSet": "eastwest", "Pod": "eastwest-1"}[kind]
        owned = {"kind": {"ReplicaSet": "Deployment", "Pod": "ReplicaSet"}[kind], "name": owner}
        names = (
            ["eastwest-1"] if kind == "ReplicaSet" else [f"pod-{n}" for n in range(len(self.ready))]
        )
        return [
            {
                "metadata": {"name": name, "ownerReferences": [owned]},
                "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
            }
            for name, ready in zip(names, self.ready, strict=False)
        ]

    def delete(self, kind: str, name: str, namespace: str, **options: Any) -> None:
        """Notes it."""
        self.deleted.append(name)


def faults(kube: FakeKube, *permissions: Permission, disposable: bool = False) -> Faults:
    """What can be broken in a mesh with these permissions."""
    allowed: Mesh = replace(mesh(), permissions=permissions, disposable=disposable)
    kubes = cast("Mapping[str, Kube]", {"east": kube, "west": FakeKube()})
    return Faults(allowed, kubes, TIMEOUTS)


BREAKING: dict[Permission, Callable[[Faults], AbstractContextManager[Any]]] = {
    Permission.REMOTE_SECRETS: lambda faults: faults.remote_secret_removed("west"),
    Permission.SINGLE_GATEWAYS: lambda faults: faults.gateway_killed(GATEWAY),
}


@pytest.mark.parametrize("permission", BREAKING)
def test_nothing_is_broken_that_was_not_permitted(permission: Permission) -> None:
    kube = FakeKube()

    told = rf"(?s)not allowed on clusters that outlive the run.*--mesh-allow={permission.value}"
    with (
        pytest.raises(NotAllowed, match=told),
        BREAKING[permission](faults(kube, *OTHERS[permission])),
    ):
        pytest.fail("it was broken")

    assert kube.deleted == []


@pytest.mark.parametrize("ready", [(True,), (True, False), (False,), (False, False)])
def test_a_gateway_without_another_ready_pod_is_spared(ready: tuple[bool, ...]) -> None:
    kube = FakeKube(ready)

    with pytest.raises(NotAllowed, match="only ready pod"), faults(kube).gateway_killed(GATEWAY):
        pytest.fail("it was killed")

    assert kube.deleted == []


@pytest.mark.parametrize(
    ("ready", "permissions", "disposable"),
    [
        ((True, True), (), False),
        ((True,), (Permission.SINGLE_GATEWAYS,), False),
        ((True,), (), True),
    ],
)
def test_a_gateway_pod_is_killed_where_another_is_ready_or_it_may_be(
    ready: tuple[bool, ...], permissions: tuple[Permission, ...], disposable: bool
) -> None:
    kube = FakeKube(ready)

    with (
        pytest.raises(Exception, match="does not work again"),  # nobody starts another one here
        faults(kube, *permissions, disposable=disposable).gateway_killed(GATEWAY),
    ):
        assert kube.deleted == ["pod-0"]

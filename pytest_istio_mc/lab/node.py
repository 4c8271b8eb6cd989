"""Node: the components of one lab cluster, and their command lines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ..errors import ProvisionError
from . import node_files
from .binaries import imagestore
from .binaries.images import LAB_LABEL
from .namespaces import Namespaces
from .plan import LabPlan, NodePlan
from .process import Component


def prepare(plan: LabPlan, node: NodePlan) -> None:
    """Write the node's configuration and its containerd root with all images."""
    home = plan.folder(node)
    runc = shutil.which("runc")
    if runc is None:
        thing = f'cluster "{node.name}"'
        raise ProvisionError(thing, "runc is not on PATH", advice="apt-get install runc")
    node_files.write(plan, node, runc)
    imagestore.copy_root(plan.containerd_root, home / "containerd")


class Node:
    """The components of one cluster, control plane and kubelet side, inside its namespaces."""

    def __init__(self, plan: LabPlan, node: NodePlan, inside: Namespaces) -> None:
        self.node = node
        self._audit_log = plan.audit_log(node) if plan.audited else None
        home = plan.folder(node)
        path = f"{plan.bin}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        # nothing else of the shell: no credentials, no proxies, no settings of Go programs
        environment = {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8"}
        commands: dict[str, Callable[[Path], list[str]]] = {
            "etcd": self._etcd,
            "kube-apiserver": self._apiserver,
            "kube-controller-manager": self._controller_manager,
            "kube-scheduler": self._scheduler,
            "containerd": self._containerd,
            "kubelet": self._kubelet,
            "kube-proxy": self._kube_proxy,
        }
        self.components = {
            name: Component(
                node.name,
                name,
                inside.command(plan.program(name), *command(home)),
                home / "log" / f"{name}.log",
                environment,
            )
            for name, command in commands.items()
        }

    def start(self, *names: str) -> None:
        """Start the named components."""
        for name in names:
            self.components[name].start()

    def require_alive(self) -> None:
        """Raise :class:`ProvisionError` where a started component has ended."""
        for component in self.components.values():
            component.require_alive()

    def _etcd(self, home: Path) -> list[str]:
        return [
            f"--data-dir={home / 'etcd'}",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _apiserver(self, home: Path) -> list[str]:
        audit = [
            f"--audit-policy-file={home / node_files.AUDIT_POLICY}",
            f"--audit-log-path={self._audit_log}",
        ]
        return [
            *(audit if self._audit_log else ()),
            "--etcd-servers=http://127.0.0.1:2379",
            f"--service-cluster-ip-range={self.node.service_range}",
            "--secure-port=6443",
            f"--advertise-address={self.node.node_address}",
            f"--tls-cert-file={home / 'kube-apiserver.crt'}",
            f"--tls-private-key-file={home / 'kube-apiserver.key'}",
            f"--client-ca-file={home / 'ca.crt'}",
            f"--cert-dir={home}",
            f"--service-account-key-file={home / 'service-account.key'}",
            f"--service-account-signing-key-file={home / 'service-account.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={home / 'admin.crt'}",
            f"--kubelet-client-key={home / 'admin.key'}",
            "--kubelet-preferred-address-types=InternalIP",
        ]

    def _controller_manager(self, home: Path) -> list[str]:
        return [
            f"--kubeconfig={home / 'kube-controller-manager.kubeconfig'}",
            f"--service-account-private-key-file={home / 'service-account.key'}",
            f"--root-ca-file={home / 'ca.crt'}",
            f"--cluster-signing-cert-file={home / 'ca.crt'}",
            f"--cluster-signing-key-file={home / 'ca.key'}",
            f"--cert-dir={home}",
            # It is made where it is missing: not in the host's /usr.
            f"--flex-volume-plugin-dir={home / 'volume-plugins'}",
            # All controllers act as one administrator: with an account each, the first of them
            # start about 6 s later.
            "--use-service-account-credentials=false",
            "--leader-elect=false",
        ]

    def _scheduler(self, home: Path) -> list[str]:
        return [
            f"--kubeconfig={home / 'kube-scheduler.kubeconfig'}",
            f"--cert-dir={home}",
            "--leader-elect=false",
        ]

    def _containerd(self, home: Path) -> list[str]:
        return ["--config", str(home / "containerd.toml"), "--log-level", "info"]

    def _kubelet(self, home: Path) -> list[str]:
        locality = self.node.locality
        labels = {
            LAB_LABEL: "true",
            "topology.kubernetes.io/region": locality.region,
            "topology.kubernetes.io/zone": locality.zone,
            "topology.istio.io/subzone": locality.subzone,
        }
        return [
            f"--config={home / 'kubelet.json'}",
            f"--kubeconfig={home / 'kubelet.kubeconfig'}",
            f"--root-dir={home / 'kubelet'}",
            f"--cert-dir={home / 'kubelet-pki'}",
            f"--hostname-override={self.node.name}",
            f"--node-ip={self.node.node_address}",
            "--node-labels=" + ",".join(f"{key}={value}" for key, value in labels.items() if value),
        ]

    def _kube_proxy(self, home: Path) -> list[str]:
        return [f"--config={home / 'kube-proxy.json'}"]

"""The configuration files of a node's components: containerd, CNI, kubelet, kube-proxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .binaries import images
from .plan import LabPlan, NodePlan

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
"""In the node's private /run: short and unique, wherever the lab's folder is."""

_UNUSED_CONTAINERD_PLUGINS = (
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.nri.v1.nri",
)


AUDIT_POLICY = "audit-policy.json"


def write(plan: LabPlan, node: NodePlan, runc: str) -> None:
    """Write all of them into the node's folder."""
    home = plan.folder(node)
    (home / "cni").mkdir()
    (home / "cni" / "10-pods.conflist").write_text(json.dumps(_cni(home, node)))
    (home / "containerd.toml").write_text(_containerd(plan, home, runc))
    (home / "kubelet.json").write_text(json.dumps(_kubelet(plan, home, node)))
    (home / "kube-proxy.json").write_text(json.dumps(_kube_proxy(home, node)))
    (home / "resolv.conf").write_text("")
    if plan.audited:
        (home / AUDIT_POLICY).write_text(json.dumps(_audit_policy()))


def _audit_policy() -> dict[str, Any]:
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata"}],
    }


def _cni(home: Path, node: NodePlan) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "dataDir": str(home / "ipam"),
        "ranges": [[{"subnet": node.pod_range}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": ipam,
    }
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def _containerd(plan: LabPlan, home: Path, runc: str) -> str:
    quoted = json.dumps
    return f"""version = 3
imports = []
root = {quoted(str(home / "containerd"))}
state = "/run/containerd"
disabled_plugins = {quoted(list(_UNUSED_CONTAINERD_PLUGINS))}
[grpc]
address = {quoted(CONTAINERD_SOCKET)}
[ttrpc]
address = {quoted(CONTAINERD_SOCKET + ".ttrpc")}
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = {quoted(images.PAUSE)}
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = [{quoted(str(plan.cni))}]
conf_dir = {quoted(str(home / "cni"))}
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = {quoted(runc)}
SystemdCgroup = false
"""


def _kubelet(plan: LabPlan, home: Path, node: NodePlan) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(home / "ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "address": node.node_address,
        "clusterDNS": [f"{node.service_prefix}.10"],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"{plan.cgroup}/{node.name}",
        # Only with a cgroup for each class of service are pods put below cgroupRoot.
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "localStorageCapacityIsolation": False,
        "evictionHard": {
            "memory.available": "1Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imagePullCredentialsVerificationPolicy": "NeverVerify",
        "maxPods": 250,
        "serializeImagePulls": False,
        # A watch of each secret and map costs a new pod a second and a failed mount.
        "configMapAndSecretChangeDetectionStrategy": "Get",
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(home / "pod-logs"),
        "volumePluginDir": str(home / "volume-plugins"),
        "resolvConf": str(home / "resolv.conf"),
        "registerWithTaints": [],
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "10s",
    }


def _kube_proxy(home: Path, node: NodePlan) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(home / "kube-proxy.kubeconfig")},
        "hostnameOverride": node.name,
        "clusterCIDR": node.pod_range,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "oomScoreAdj": 0,
        # By default, 1 s between two writes of the rules: most of a new service's waiting time.
        "iptables": {"minSyncPeriod": "0s"},
    }

"""The fabric: a router namespace between the clusters' nodes that lets through only what real networks would.

Every node has a link of its own to the router. What crosses it: apiservers (6443) and load-balancer addresses, for everybody; pod
addresses, only between clusters of one network. Everything else is refused with "network unreachable".
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from .namespaces import Namespaces
from .plan import LabPlan, NodePlan

# Without a limit on its rate, every refusal is heard; limited, some would look like packets lost.
_FABRIC_SETTINGS = (
    "echo 1 > /proc/sys/net/ipv4/ip_forward && echo 0 > /proc/sys/net/ipv4/icmp_ratelimit"
)

# Bridged pod-to-pod packets must pass the nat table too, or the answer of a service's pod on the same node is not translated back.
_NODE_SETTINGS = """
for name in ipv4/ip_forward ipv4/conf/all/route_localnet bridge/bridge-nf-call-iptables; do
  [ ! -e "/proc/sys/net/$name" ] || echo 1 > "/proc/sys/net/$name"
done
"""


def link(plan: LabPlan, fabric: Namespaces, nodes: dict[str, Namespaces]) -> None:
    """Wire every node to the fabric, and set routes, address translation and the fabric's filter."""
    fabric.run(["ip", "-batch", "-"], stdin="\n".join(_fabric_lines(plan, nodes)) + "\n")
    fabric.run(["iptables-restore"], stdin=_filter(plan))
    fabric.run(["sh", "-c", _FABRIC_SETTINGS])
    for node in plan.nodes:
        _set_up_node(plan, node, nodes[node.name])


def _fabric_lines(plan: LabPlan, nodes: dict[str, Namespaces]) -> Iterator[str]:
    yield "link set lo up"
    for node in plan.nodes:
        device = f"node{node.number}"
        yield f"link add {device} type veth peer name eth0 netns {nodes[node.name].init}"
        yield f"addr add {node.gateway_address}/24 dev {device}"
        yield f"link set {device} up"
    for node in plan.nodes:
        yield f"route add {node.load_balancer_range} via {node.node_address} onlink dev node{node.number}"
        yield f"route add {node.pod_range} via {node.node_address} onlink dev node{node.number}"


def _set_up_node(plan: LabPlan, node: NodePlan, inside: Namespaces) -> None:
    inside.run(
        ["ip", "-batch", "-"],
        stdin=f"link set lo up\naddr add {node.node_address}/24 dev eth0\nlink set eth0 up\nroute add default via {node.gateway_address}\n",
    )
    inside.run(["sh", "-c", _NODE_SETTINGS])
    inside.run(["iptables-restore", "--noflush"], stdin=_masquerade(plan, node))


def _filter(plan: LabPlan) -> str:
    rules = [
        "*filter",
        ":FORWARD DROP [0:0]",
        "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    ]
    for node in plan.nodes:
        rules.append(f"-A FORWARD -d {node.node_address} -p tcp --dport 6443 -j ACCEPT")
        rules.append(f"-A FORWARD -d {node.load_balancer_range} -j ACCEPT")
        rules += [
            f"-A FORWARD -s {node.pod_range} -d {other.pod_range} -j ACCEPT"
            for other in plan.neighbours(node)
        ]
    rules += ["-A FORWARD -j REJECT --reject-with icmp-net-unreachable", "COMMIT", ""]
    return "\n".join(rules)


def _masquerade(plan: LabPlan, node: NodePlan) -> str:
    spared = [node.pod_range, *(other.pod_range for other in plan.neighbours(node))]
    rules = [
        "*nat",
        ":LAB-POSTROUTING - [0:0]",
        f"-A POSTROUTING -s {node.pod_range} ! -o cni0 -j LAB-POSTROUTING",
    ]
    rules += [f"-A LAB-POSTROUTING -d {pods} -j RETURN" for pods in spared]
    rules += ["-A LAB-POSTROUTING -j MASQUERADE", "COMMIT", ""]
    return "\n".join(rules)


def modules() -> None:
    """Ask for the kernel modules that bridges need for filtering; kernels that have them built in say nothing."""
    modprobe = shutil.which(
        "modprobe", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    )
    for name in ("br_netfilter", "overlay", "nf_conntrack") if modprobe else ():
        subprocess.run([str(modprobe), "-q", name], check=False, capture_output=True)

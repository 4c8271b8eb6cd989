"""The fabric: a router namespace between the nodes, as strict as real networks.

Every node has its own link to the router, which lets through:

- connections to apiservers (6443) and to load-balancer addresses, from everybody;
- connections to pod addresses, only between clusters of one network.

Everything else is refused with "network unreachable".
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from .namespaces import Namespaces
from .plan import LabPlan, NodePlan

# Without a rate limit every refusal is heard; with one, some look like lost packets.
_FABRIC_SETTINGS = (
    "echo 1 > /proc/sys/net/ipv4/ip_forward && echo 0 > /proc/sys/net/ipv4/icmp_ratelimit"
)

# Bridged pod-to-pod packets must pass the nat table too: else the answer of a service's pod on the
# same node is not translated back.
_NODE_SETTINGS = """
for name in ipv4/ip_forward ipv4/conf/all/route_localnet bridge/bridge-nf-call-iptables; do
  [ ! -e "/proc/sys/net/$name" ] || echo 1 > "/proc/sys/net/$name"
done
"""


def link(plan: LabPlan, fabric: Namespaces, nodes: dict[str, Namespaces]) -> None:
    """Wire every node to the fabric, with routes, address translation and filter."""
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
        for destination in (node.load_balancer_range, node.pod_range):
            way = f"via {node.node_address} onlink dev node{node.number}"
            yield f"route add {destination} {way}"


def _set_up_node(plan: LabPlan, node: NodePlan, inside: Namespaces) -> None:
    lines = (
        "link set lo up",
        f"addr add {node.node_address}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {node.gateway_address}",
    )
    inside.run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
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
    """Load the lab's kernel modules, unless the kernel has them built in."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    modprobe = shutil.which("modprobe", path=path)
    for name in ("br_netfilter", "overlay", "nf_conntrack") if modprobe else ():
        subprocess.run([str(modprobe), "-q", name], check=False, capture_output=True)

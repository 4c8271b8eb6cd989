"""Changes to the Kubernetes objects of a mesh: the parts of seeded faults."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import yaml

from pytest_istio_mc import certificates
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.kube import Kube

SYSTEM = "istio-system"
GATEWAY = "istio-eastwestgateway"
GATEWAY_LABEL = "istio=eastwestgateway"
GATEWAY_KIND = "Gateway.networking.istio.io"
CROSS_NETWORK = "cross-network-gateway"
NETWORK_LABEL = "topology.istio.io/network"
READER = f"istio-reader-clusterrole-{SYSTEM}"
Json = dict[str, Any]


def create_anew(kube: Kube, manifest: Json) -> None:
    """Create an object, in place of the one that an earlier fault and its remedy left."""
    kind = str(manifest["kind"])
    if "/" in manifest["apiVersion"]:
        kind += "." + manifest["apiVersion"].partition("/")[0]
    metadata = manifest["metadata"]
    if kube.read(kind, metadata["name"], metadata["namespace"]) is not None:
        kube.delete(kind, metadata["name"], metadata["namespace"])
    kube.create(manifest)


def remote_secret(kube: Kube, cluster: str) -> Json:
    """The remote secret for a cluster, as istioctl names it."""
    secret = kube.read("Secret", f"istio-remote-secret-{cluster}", SYSTEM)
    assert secret is not None, f"{kube.name} has no remote secret for {cluster}"
    return secret


def secret_for(cluster: str, like: Json, kubeconfig: str) -> Json:
    """An existing remote secret made over for another cluster; ``kubeconfig`` is encoded."""
    annotations = {"networking.istio.io/cluster": cluster}
    renamed = bare(like, name=f"istio-remote-secret-{cluster}", annotations=annotations)
    return renamed | {"data": {cluster: kubeconfig}}


def encoded(text: str | bytes) -> str:
    """Base64, as Secrets have it."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def change_kubeconfig(kube: Kube, change: Callable[[Json], object]) -> None:
    """Change the kubeconfig with which a cluster's istiod reads cluster2."""
    secret = remote_secret(kube, "cluster2")
    kubeconfig = yaml.safe_load(base64.b64decode(secret["data"]["cluster2"]))
    change(kubeconfig)
    data = {"cluster2": encoded(yaml.safe_dump(kubeconfig))}
    kube.merge("Secret", secret["metadata"]["name"], SYSTEM, {"data": data})


def change_gateway(kube: Kube, change: Callable[[Json], object]) -> None:
    """Change the Gateway that exposes a cluster's services."""
    gateway = kube.read(GATEWAY_KIND, CROSS_NETWORK, SYSTEM)
    assert gateway is not None
    spec = copy.deepcopy(gateway["spec"])
    change(spec)
    # a merge patch keeps the keys of maps that it does not name
    kube.merge(GATEWAY_KIND, CROSS_NETWORK, SYSTEM, {"spec": {"selector": None, "servers": None}})
    kube.merge(GATEWAY_KIND, CROSS_NETWORK, SYSTEM, {"spec": spec})


def bare(manifest: Json, **metadata: Any) -> Json:
    """The object without the API server's fields, to be created anew."""
    ours = ("name", "namespace", "labels", "annotations")
    kept = {key: value for key, value in manifest["metadata"].items() if key in ours}
    rest = {key: value for key, value in manifest.items() if key != "status"}
    return rest | {"metadata": kept | metadata}


def restart(kube: Kube, *selectors: str) -> None:
    """Replace the pods with these labels in the system namespace.

    Returns when the new ones are ready and the old ones gone.
    """
    for selector in selectors:
        old = pod_names(kube, selector)
        for name in old:
            kube.delete("Pod", name, SYSTEM)
        what = f"the pods with {selector} of {kube.name} are replaced"
        now = partial(pod_names, kube, selector)
        eventually(now, partial(replaced, old), within_seconds=90, what=what)
        deployments = kube.list("Deployment", SYSTEM, labels=selector)
        wanted = [("Deployment", item["metadata"]["name"]) for item in deployments]
        kube.wait_available(wanted, SYSTEM, within_seconds=90)


def pod_names(kube: Kube, selector: str) -> set[str]:
    """The pods with these labels in the system namespace, ending ones too."""
    return {pod["metadata"]["name"] for pod in kube.list("Pod", SYSTEM, labels=selector)}


def replaced(old: set[str], now: set[str]) -> bool:
    """Whether there are pods, and none of the old ones."""
    return bool(now) and not old & now


def plug_in(kube: Kube, root: certificates.Authority) -> None:
    """Replace ``cacerts``, which istiod reads at its start, by one of another root."""
    intermediate = certificates.make_intermediate(root, f"Intermediate CA of {kube.name}")
    files = certificates.cacerts_files(intermediate, root)
    data = {name: encoded(content) for name, content in files.items()}
    kube.merge("Secret", "cacerts", SYSTEM, {"data": data})


def set_network(kube: Kube, network: str | None) -> None:
    """Set, or remove, the network label of a cluster's system namespace."""
    kube.merge("Namespace", SYSTEM, None, {"metadata": {"labels": {NETWORK_LABEL: network}}})


def set_mesh_config(kube: Kube, **settings: Any) -> None:
    """Change the mesh configuration of one control plane."""
    config = kube.read("ConfigMap", "istio", SYSTEM)
    assert config is not None
    mesh = yaml.safe_load(config["data"]["mesh"]) | settings
    kube.merge("ConfigMap", "istio", SYSTEM, {"data": {"mesh": yaml.safe_dump(mesh)}})


def set_environment(kube: Kube, deployment: str, **values: str | None) -> None:
    """Set variables of a Deployment's containers; None removes one."""
    item = kube.read("Deployment", deployment, SYSTEM)
    assert item is not None
    wanted = [{"name": name, "value": value} for name, value in values.items() if value is not None]
    containers = copy.deepcopy(item["spec"]["template"]["spec"]["containers"])
    for container in containers:
        kept = [one for one in container.get("env", ()) if one["name"] not in values]
        container["env"] = kept + wanted
    template = {"spec": {"containers": containers}}
    kube.merge("Deployment", deployment, SYSTEM, {"spec": {"template": template}})


def turn_mutual_tls_off(kube: Kube) -> None:
    """Create a mesh-wide PeerAuthentication that turns mutual TLS off."""
    policy: Json = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": SYSTEM},
        "spec": {"mtls": {"mode": "DISABLE"}},
    }
    create_anew(kube, policy)

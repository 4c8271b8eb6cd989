"""The Kubernetes certificates of a lab cluster, and the kubeconfigs made of them (Kubernetes' "PKI certificates and requirements")."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .plan import LabPlan, NodePlan

_VALID = dt.timedelta(days=365)

_CLIENTS = {
    # The controller manager and the scheduler act as administrators: the roles of their own accounts come seconds later.
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", "system:masters"),
    "kube-scheduler": ("system:kube-scheduler", "system:masters"),
    "kube-proxy": ("system:kube-proxy", "system:masters"),
}


@dataclass(frozen=True)
class _Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )


def write(plan: LabPlan, node: NodePlan, port: int) -> None:
    """Write the cluster's CA, server and client certificates, the service-account key, and every component's kubeconfig.

    ``port`` is the forwarder's on 127.0.0.1; the administrator's kubeconfig leads there, all others to the node's address.
    """
    home = plan.folder(node)
    home.chmod(0o700)
    ca = _issue(f"{node.name}-kubernetes-ca")
    (home / "ca.crt").write_bytes(ca.certificate_pem)
    (home / "ca.key").write_bytes(ca.key_pem)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    server = _issue("kube-apiserver", ca=ca, sans=[node.node_address, "127.0.0.1", f"{node.service_prefix}.1", *names])
    (home / "kube-apiserver.crt").write_bytes(server.certificate_pem)
    (home / "kube-apiserver.key").write_bytes(server.key_pem)
    (home / "service-account.key").write_bytes(_issue("service-account").key_pem)
    clients = _CLIENTS | {"kubelet": (f"system:node:{node.name}", "system:nodes")}
    for client, (common_name, organization) in clients.items():
        pair = _issue(common_name, ca=ca, organization=organization)
        (home / f"{client}.crt").write_bytes(pair.certificate_pem)
        (home / f"{client}.key").write_bytes(pair.key_pem)
        server_url = f"https://127.0.0.1:{port}" if client == "admin" else node.peer_server
        (home / f"{client}.kubeconfig").write_text(json.dumps(_kubeconfig([(node.name, server_url, ca, pair)])))


def write_shared_kubeconfig(plan: LabPlan) -> None:
    """Write the kubeconfig with a context for each cluster, for administrators on the host."""
    merged: dict[str, Any] = _kubeconfig([])
    for node in plan.nodes:
        one = json.loads((plan.folder(node) / "admin.kubeconfig").read_text())
        for key in ("clusters", "users", "contexts"):
            merged[key] += one[key]
    merged["current-context"] = plan.nodes[0].name
    plan.kubeconfig.touch(mode=0o600)
    plan.kubeconfig.write_text(json.dumps(merged, indent=1))


def _kubeconfig(entries: Sequence[tuple[str, str, _Pair, _Pair]]) -> dict[str, Any]:
    def encoded(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": entries[0][0] if entries else "",
        "clusters": [
            {"name": name, "cluster": {"server": url, "certificate-authority-data": encoded(ca.certificate_pem)}}
            for name, url, ca, _ in entries
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": encoded(client.certificate_pem),
                    "client-key-data": encoded(client.key_pem),
                },
            }
            for name, _, _, client in entries
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name, _, _, _ in entries],
    }


def _issue(common_name: str, *, ca: _Pair | None = None, organization: str = "", sans: Sequence[str] = ()) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    subject = x509.Name(attributes)
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.certificate.subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
    )
    if ca:
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(san) for san in sans]), critical=False)
    return _Pair(builder.sign(ca.key if ca else key, hashes.SHA256()), key)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

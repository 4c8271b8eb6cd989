"""Proxies: which one leads to an API server, and what it is told of us."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies

from .kubeconfig import Unusable, header_value

# socks5 here as in kubectl: the proxy resolves the name (golang.org/x/net/internal/socks).
_SCHEMES = {"http": "http", "https": "https", "socks5": "socks5h", "socks5h": "socks5h"}
_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5h": 1080}


@dataclass(frozen=True)
class Proxy:
    """A proxy: ``url`` has no credentials; those stand apart, decoded."""

    url: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS, not HTTP."""
        return self.url.startswith("socks")

    def headers(self) -> dict[str, str]:
        """What an HTTP proxy must be told (RFC 9110, section 11.7.2)."""
        if not self.user and not self.password:
            return {}
        both = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {both}"}


def proxy_for(server: str, proxy_url: str) -> Proxy | None:
    """The proxy on the way to ``server``, chosen as kubectl chooses it.

    - ``proxy_url`` of the kubeconfig is always used.
    - Those of the environment (``HTTPS_PROXY``…) are not for what ``NO_PROXY`` names, and never for
      this machine itself.
    """
    if proxy_url:
        return _parsed(proxy_url, "proxy-url")
    environment = getproxies()
    parts = urlsplit(server)
    chosen = environment.get(parts.scheme) or environment.get("all")
    if not chosen or is_loopback(server) or _is_named(parts, environment.get("no", "")):
        return None
    name = f"{parts.scheme if environment.get(parts.scheme) else 'all'}_proxy".upper()
    return _parsed(chosen if "://" in chosen else f"http://{chosen}", name)


def is_loopback(server: str) -> bool:
    """Whether an address of this machine itself is meant."""
    host = urlsplit(server).hostname or ""
    address = _address(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


def _parsed(url: str, where: str) -> Proxy:
    try:
        parts = urlsplit(url)
        scheme, port = _SCHEMES.get(parts.scheme), parts.port
    except ValueError:
        raise Unusable(f"{where} is not a URL of a proxy") from None
    if scheme is None or not parts.hostname:
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise Unusable(f"{where} is not a URL of a proxy with one of {known}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    user = header_value(unquote(parts.username or ""), where)
    password = header_value(unquote(parts.password or ""), where)
    return Proxy(f"{scheme}://{host}:{port or _DEFAULT_PORTS[scheme]}", user, password)


def _is_named(server: SplitResult, no_proxy: str) -> bool:
    """Whether ``NO_PROXY`` names the server: ``*``, a domain, an address or a network.

    Entries may carry a port, and a domain stands for all names below it.
    """
    host = (server.hostname or "").lower()
    port = str(server.port or _DEFAULT_PORTS.get(server.scheme))
    address = _address(host)
    for entry in no_proxy.lower().replace(",", " ").split():
        if entry == "*":
            return True
        name, of_port = entry, ""
        if entry.startswith("[") or entry.count(":") == 1:
            name, _, of_port = entry.rpartition(":") if not entry.endswith("]") else (entry, "", "")
            name = name.strip("[]")
        if of_port and of_port != port:
            continue
        if address is not None:
            try:
                if address in ipaddress.ip_network(name, strict=False):
                    return True
            except ValueError:
                pass
        domain = name.removeprefix("*").lstrip(".")
        if domain and (host == domain or host.endswith(f".{domain}")):
            return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

"""Proxies: which one is chosen, what it is told, and what is never told of it."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.certificates import Authority, make_root
from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.proxies import proxy_for
from tests.kube.fake_api import (
    FakeApi,
    client_of,
    connect_proxy,
    fake_api,
    refuses,
    server_tls,
    socks_proxy,
)

NAME = "api.example.org"
SECRET = "p@ss/word"
ENCODED = "me:p%40ss%2Fword"
AUTHORIZATION = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()

USES: dict[str, Callable[[Kube], Any]] = {
    "request": lambda kube: kube.get_path("/version"),
    "stream": lambda kube: kube.exec("a", "b", "c", ["true"]),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies but those of the test."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_root()


@pytest.fixture
def api(authority: Authority, tmp_path: Path) -> Iterator[FakeApi]:
    """An API server with TLS, known as a name that does not resolve."""
    with fake_api(server_tls(authority, tmp_path, NAME)) as running:
        running.answer = refuses(418, "reached")
        yield running


def trusting(authority: Authority, **more: Any) -> dict[str, Any]:
    encoded = base64.b64encode(authority.certificate.encode()).decode()
    return {"certificate-authority-data": encoded, **more}


@pytest.mark.parametrize("use", USES)
def test_proxy_url_is_used_with_its_credentials(
    api: FakeApi, authority: Authority, tmp_path: Path, use: str
) -> None:
    with connect_proxy(api.port) as (port, told):
        cluster = trusting(authority, **{"proxy-url": f"http://{ENCODED}@127.0.0.1:{port}"})
        with pytest.raises(KubeError, match="418: reached"):
            USES[use](client_of(f"https://{NAME}:6443", tmp_path, cluster=cluster))

    (head,) = told
    assert head[0].startswith(f"CONNECT {NAME}:6443 HTTP/1.")
    assert f"Proxy-Authorization: {AUTHORIZATION}" in head
    assert "Proxy-Authorization" not in api.seen[0].headers


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_the_environments_proxy_is_used_with_its_credentials(
    api: FakeApi,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    use: str,
    scheme: str,
) -> None:
    with connect_proxy(api.port) as (port, told):
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}{ENCODED}@127.0.0.1:{port}")
        with pytest.raises(KubeError, match="418: reached"):
            USES[use](client_of(f"https://{NAME}:6443", tmp_path, cluster=trusting(authority)))

    assert f"Proxy-Authorization: {AUTHORIZATION}" in told[0]


@pytest.mark.parametrize("use", USES)
def test_an_apiserver_without_tls_behind_a_proxy(tmp_path: Path, use: str) -> None:
    with fake_api() as api, connect_proxy(api.port) as (port, told):
        api.answer = refuses(418, "reached")
        # requests without TLS go to the proxy itself, which here is the API server
        asked = api.port if use == "request" else port
        cluster = {"proxy-url": f"http://{ENCODED}@127.0.0.1:{asked}"}
        with pytest.raises(KubeError, match="418: reached"):
            USES[use](client_of(f"http://{NAME}:8080", tmp_path, cluster=cluster))

        if use == "request":
            assert api.seen[0].headers["Proxy-Authorization"] == AUTHORIZATION
        else:
            assert f"Proxy-Authorization: {AUTHORIZATION}" in told[0]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
def test_this_machine_is_never_looked_for_behind_the_environments_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    with fake_api() as api:
        api.answer = refuses(418, "reached")
        with pytest.raises(KubeError, match="418: reached"):
            USES[use](client_of(api.url, tmp_path))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("account", ["", f"{ENCODED}@"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_resolves_the_name_itself(
    api: FakeApi, authority: Authority, tmp_path: Path, use: str, account: str, scheme: str
) -> None:
    with socks_proxy(api.port) as (port, told):
        cluster = trusting(authority, **{"proxy-url": f"{scheme}://{account}127.0.0.1:{port}"})
        with pytest.raises(KubeError, match="418: reached"):
            USES[use](client_of(f"https://{NAME}:6443", tmp_path, cluster=cluster))

    assert told == [*([f"me:{SECRET}"] if account else []), f"{NAME}:6443"]


@pytest.mark.parametrize("use", USES)
def test_a_socks_proxy_without_its_package_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
    cluster = {"proxy-url": f"socks5://{ENCODED}@127.0.0.1:1"}

    with pytest.raises(KubeError, match="for which PySocks is missing") as told:
        USES[use](client_of(f"https://{NAME}", tmp_path, cluster=cluster))

    assert told.value.advice == "pip install 'pytest-istio-mc[socks]'"
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_is_gone_or_refuses_is_told_without_its_password(
    tmp_path: Path, use: str, scheme: str
) -> None:
    with connect_proxy(1, refuse="407 Proxy Authentication Required") as (port, told):
        cluster = {"proxy-url": f"{scheme}://{ENCODED}@127.0.0.1:{port if scheme == 'http' else 1}"}
        kube = client_of(f"https://{NAME}:6443", tmp_path, cluster=cluster)
        with pytest.raises(KubeError, match="407" if scheme == "http" else "refused") as refused:
            USES[use](kube)
        assert len(told) == (scheme == "http")  # a refusal is not repeated

    for hidden in (SECRET, ENCODED, AUTHORIZATION.split()[1]):
        assert hidden not in repr(refused.value) + str(refused.value)


@pytest.mark.parametrize("url", ["ftp://a", "proxy.example.org:3128", "http://", "http://a:b"])
def test_a_proxy_url_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    kube = client_of(f"https://{NAME}", tmp_path, cluster={"proxy-url": url})

    with pytest.raises(KubeError, match="proxy-url is not a URL of a proxy"):
        kube.version()


def test_streams_cannot_go_through_a_proxy_with_tls(tmp_path: Path) -> None:
    kube = client_of(f"https://{NAME}", tmp_path, cluster={"proxy-url": "https://127.0.0.1:1"})

    with pytest.raises(KubeError, match="exec and port-forward cannot go through https://127"):
        USES["stream"](kube)


@pytest.mark.parametrize(
    ("server", "no_proxy", "direct"),
    [
        ("https://api.example.org", "", False),
        ("https://api.example.org", "*", True),
        ("https://api.example.org", "example.org", True),
        ("https://api.example.org", ".example.org", True),
        ("https://api.example.org", "*.example.org", True),
        ("https://API.Example.org", "other.net, EXAMPLE.ORG", True),
        ("https://badexample.org", "example.org", False),
        ("https://api.example.org:6443", "api.example.org:6443", True),
        ("https://api.example.org:6443", "api.example.org:443", False),
        ("https://api.example.org", "api.example.org:443", True),
        ("https://10.1.2.3:6443", "10.0.0.0/8", True),
        ("https://10.1.2.3:6443", "10.2.0.0/16", False),
        ("https://10.1.2.3:6443", "10.1.2.3", True),
        ("https://10.1.2.3:6443", "10.1.2.3:6443", True),
        ("https://[fd00::1]:6443", "fd00::/8", True),
        ("https://[fd00::1]:6443", "fd00::1", True),
        ("https://[fd00::1]:6443", "[fd00::1]:6443", True),
        ("https://[fd00::1]:6443", "[fd00::1]:443", False),
        ("https://[fd00::1]:6443", "fe80::/10", False),
        ("https://127.0.0.1:6443", "", True),
        ("https://127.8.9.1:6443", "", True),
        ("https://[::1]:6443", "", True),
        ("https://localhost:6443", "", True),
        ("https://lab.localhost:6443", "", True),
        ("https://localhost.example.org", "", False),
    ],
)
def test_who_is_reached_without_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch, server: str, no_proxy: str, direct: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)

    assert (proxy_for(server, "") is None) is direct
    # kubectl asks nobody about the proxy that the kubeconfig itself names
    assert proxy_for(server, "http://other.example.org:3128") is not None

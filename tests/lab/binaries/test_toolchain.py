"""The toolchain: its key, the parts of earlier builds, the real one."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.lab import host
from pytest_istio_mc.lab.binaries import components, golang, images, toolchain
from pytest_istio_mc.lab.binaries.cache import BuildCache, cache_home
from pytest_istio_mc.lab.binaries.components import GoModule, go_modules
from pytest_istio_mc.lab.binaries.golang import Go
from pytest_istio_mc.progress import Progress


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the go.mod and go.sum files, to change."""
    copy = tmp_path / "modules"
    shutil.copytree(components.MODULES, copy)
    monkeypatch.setattr(components, "MODULES", copy)
    return copy


@pytest.mark.parametrize("name", ["mesh/go.sum", "etcd/go.mod", "coredns/go.sum"])
def test_the_key_changes_with_every_go_mod_and_go_sum(modules: Path, name: str) -> None:
    before = toolchain._key("1.26.6")

    with (modules / name).open("a") as file:
        file.write("\n// changed\n")

    assert toolchain._key("1.26.6") != before


def test_the_key_stays_as_long_as_nothing_changes(modules: Path) -> None:
    assert toolchain._key("1.26.6") == toolchain._key("1.26.6")


def test_the_key_changes_with_go_envoy_and_the_images_recipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {toolchain._key("1.26.6"), toolchain._key("1.26.7")}
    for module, name, value in (
        (toolchain, "ENVOY_VERSION", "1.41.0"),
        (images, "RECIPE", images.RECIPE + 1),
        (toolchain, "LAYOUT", 99),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            keys.add(toolchain._key("1.26.6"))
    with monkeypatch.context() as patch:
        patch.setattr("sys.version", "3.99.0 (main)")
        keys.add(toolchain._key("1.26.6"))

    assert len(keys) == 6


def test_the_key_changes_with_the_iptables_that_goes_into_the_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = toolchain._key("1.26.6")
    other = tmp_path / images.IPTABLES
    other.write_text("another iptables")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert toolchain._key("1.26.6") != before


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of the parts that a build of stand-ins has made."""
    made: list[str] = []
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path / "cache"))

    def compile_module(
        go: Go, module: GoModule, into: Path, logs: Path, progress: Progress
    ) -> None:
        made.append(module.name)
        for name in module.files:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_text(f"{module.name} by {go.version}")

    def fetch_envoy(self: toolchain.Build, folder: Path) -> None:
        made.append("envoy")
        (folder / toolchain.ENVOY).write_text("envoy")

    def make_images(self: toolchain.Build, folder: Path) -> None:
        made.append("images")
        (folder / "containerd").mkdir()
        (folder / "containerd" / "meta.db").write_text("images")

    monkeypatch.setattr(golang, "build", compile_module)
    monkeypatch.setattr(
        golang, "provide", lambda home, logs, progress: Go(Path("go"), golang.expected_version())
    )
    monkeypatch.setattr(host, "examine_for_build", lambda cache, compiling: [])
    monkeypatch.setattr(toolchain.Build, "_fetch_envoy", fetch_envoy)
    monkeypatch.setattr(toolchain.Build, "_make_images", make_images)
    return made


def test_everything_is_made_once(small: list[str]) -> None:
    assert toolchain.cached() is None

    built = toolchain.ensure(Progress())

    assert small == ["mesh", "containerd", "coredns", "etcd", "envoy", "images"]
    assert toolchain.ensure(Progress()) == toolchain.cached() == built
    assert len(small) == 6
    assert (built.bin / "kubelet").read_text().startswith("mesh by ")
    assert (built.cni / "bridge").is_file()
    assert (built.containerd_root / "meta.db").is_file()
    assert built.versions["kubernetes"] == "v1.36.1"
    upstream = {"istio", "envoy", "etcd", "containerd", "coredns", "cni-plugins"}
    assert set(built.versions) >= upstream | {"go", "python"}


def test_a_build_tells_each_part_with_an_estimate_and_the_next_one_what_it_took(
    small: list[str],
) -> None:
    lines: list[str] = []
    built = toolchain.ensure(Progress(lines.append))
    (built.bin / "etcd").unlink()
    again: list[str] = []
    toolchain.ensure(Progress(again.append))

    assert "building mesh, containerd, coredns, etcd, envoy, images into" in lines[0]
    assert any("1 of 6: mesh begins, typically" in line for line in lines)
    assert any("6 of 6: images done (0.0 s)" in line for line in lines)
    assert any("not whole (bin/etcd is missing); building it anew" in line for line in again)
    assert any("mesh begins, last time 0 s" in line for line in again)


def test_what_an_earlier_build_made_from_the_same_sources_is_taken_over(
    small: list[str], modules: Path
) -> None:
    first = toolchain.ensure(Progress())
    small.clear()
    with (modules / "coredns" / "go.sum").open("a") as file:
        file.write("\n")

    lines: list[str] = []
    second = toolchain.ensure(Progress(lines.append))

    assert second.key != first.key
    assert small == ["coredns", "images"]
    assert (second.bin / "kubelet").samefile(first.bin / "kubelet")
    assert not (second.bin / "coredns").samefile(first.bin / "coredns")
    assert any("mesh is taken from an earlier build" in line for line in lines)
    assert toolchain.cached() == second


def test_nothing_is_taken_over_from_a_broken_build(small: list[str], modules: Path) -> None:
    first = toolchain.ensure(Progress())
    (first.bin / "kubelet").write_text("cut")
    small.clear()
    with (modules / "coredns" / "go.sum").open("a") as file:
        file.write("\n")

    toolchain.ensure(Progress())

    assert small == ["mesh", "containerd", "coredns", "etcd", "envoy", "images"]


def test_a_full_disk_while_building_is_said_and_leaves_nothing(
    small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(self: toolchain.Build, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "half"))

    monkeypatch.setattr(toolchain.Build, "_make_images", fill)

    with pytest.raises(ProvisionError, match="the disk is full"):
        toolchain.ensure(Progress())

    assert list(BuildCache(cache_home()).entries()) == []
    left = [path.name for path in cache_home().iterdir()]
    assert [name for name in left if name.startswith(("unfinished", "toolchain"))] == []


def test_a_machine_that_lacks_something_is_told_so_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(host, "TOOLCHAIN_BYTES", 2**60)

    with pytest.raises(ProvisionError) as caught:
        toolchain.ensure(Progress())

    assert "the lab's programs cannot be built here" in str(caught.value)
    assert "disk: " in caught.value.detail
    assert "ISTIO_MC_CACHE" in caught.value.advice
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["build.lock"]


def test_without_iptables_there_is_no_toolchain_and_ensure_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert toolchain.cached() is None
    with pytest.raises(ProvisionError, match="apt-get install iptables"):
        toolchain.ensure(Progress())


@pytest.mark.lab
def test_the_real_toolchain_is_whole_and_says_its_versions() -> None:
    found = toolchain.cached()
    if found is None:
        pytest.skip("the toolchain is not built; run `istio-mc lab build`")
    files = [name for module in go_modules() for name in module.files]

    def said(program: str, *words: str) -> str:
        return subprocess.check_output([str(found.bin / program), *words], text=True)

    programs = [found.home / name for name in files if name.startswith(("bin/", "cni/"))]
    assert all(program.stat().st_mode & stat.S_IXUSR for program in programs)
    assert said("kubelet", "--version").strip() == f"Kubernetes {found.versions['kubernetes']}"
    assert found.versions["istio"] in said("istioctl", "version", "--remote=false")
    assert found.versions["etcd"].removeprefix("v") in said("etcd", "--version")
    assert found.versions["envoy"] in said("envoy", "--version")
    assert found.versions["containerd"].removeprefix("v") in said("containerd", "--version")
    assert found.versions["coredns"].removeprefix("v") in said("coredns", "-version")

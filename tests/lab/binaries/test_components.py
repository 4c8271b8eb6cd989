"""The pinned parts: the lab builds what the go.mod files name."""

from __future__ import annotations

import re

import pytest

from pytest_istio_mc.lab import releases
from pytest_istio_mc.lab.binaries.components import (
    FETCHED_GO_VERSION,
    MODULES,
    GoModule,
    go_modules,
    istio_module,
    istio_version,
    kubernetes_module,
    kubernetes_version,
    needed_go,
    required_version,
    version_tuple,
    versions,
)
from pytest_istio_mc.lab.binaries.golang import built_name


def each_module() -> pytest.MarkDecorator:
    others = [istio_module(minor) for minor in releases.ISTIO[1:]]
    others += [kubernetes_module(minor) for minor in releases.KUBERNETES[1:]]
    modules = (*go_modules(), *others)
    return pytest.mark.parametrize("module", modules, ids=lambda module: module.name)


def test_every_folder_of_modules_is_of_a_version_that_can_be_asked_for() -> None:
    asked = {f"istio-{minor}" for minor in releases.ISTIO[1:]}
    asked |= {f"kubernetes-{minor}" for minor in releases.KUBERNETES[1:]}

    assert {folder.name for folder in MODULES.iterdir()} == asked | {
        module.name for module in go_modules()
    }


@pytest.mark.parametrize("minor", releases.ISTIO)
def test_an_istio_states_the_minor_version_that_it_is_asked_for_by(minor: str) -> None:
    assert istio_version(minor).startswith(f"{minor}.")


@pytest.mark.parametrize("minor", releases.KUBERNETES)
def test_a_kubernetes_states_the_minor_version_that_it_is_asked_for_by(minor: str) -> None:
    assert kubernetes_version(minor).startswith(f"v{minor}.")


@each_module()
def test_every_program_is_a_tool_of_its_go_mod(module: GoModule) -> None:
    text = (module.folder / "go.mod").read_text()
    block = re.search(r"^tool \(\n(.*?)^\)|^tool (\S+)$", text, re.MULTILINE | re.DOTALL)
    assert block is not None

    assert set(module.programs) <= set((block[1] or block[2]).split())


@each_module()
def test_every_program_comes_from_a_module_that_is_required(module: GoModule) -> None:
    upstreams = module.upstreams()

    assert upstreams
    for package in module.programs:
        assert any(package.startswith(path) for path, _ in upstreams)


@each_module()
def test_every_go_sum_knows_what_go_mod_requires(module: GoModule) -> None:
    sums = (module.folder / "go.sum").read_text()

    for path, version in module.upstreams():
        assert f"{path} {version} h1:" in sums
        assert f"{path} {version}/go.mod h1:" in sums


def test_no_two_programs_have_one_file() -> None:
    files = [file for module in go_modules() for file in module.files]

    assert len(files) == len(set(files))


def test_kubernetes_and_istio_call_themselves_what_go_mod_names() -> None:
    stamps = next(module for module in go_modules() if module.name == "mesh").stamps
    kubernetes = required_version("mesh", "k8s.io/kubernetes")
    revision = stamps["istio.io/istio/pkg/version.buildGitRevision"]

    assert stamps["k8s.io/component-base/version.gitVersion"] == kubernetes
    assert versions()["kubernetes"] == kubernetes
    assert stamps["istio.io/istio/pkg/version.buildVersion"] == versions()["istio"]
    assert required_version("mesh", "istio.io/istio").endswith(revision)


def test_the_go_from_pypi_is_new_enough_for_every_module() -> None:
    assert version_tuple(FETCHED_GO_VERSION) >= version_tuple(needed_go())


def test_versions_compare_as_numbers() -> None:
    assert version_tuple("1.26.10") > version_tuple("1.26.6")
    assert version_tuple("1.27rc1") == (1, 27)
    assert version_tuple("1.1.5+ds1") == (1, 1, 5)
    assert version_tuple("") < version_tuple("1.0")


def test_a_main_package_of_a_major_version_is_built_under_the_name_before_it() -> None:
    assert built_name("go.etcd.io/etcd/server/v3") == "server"
    assert built_name("k8s.io/kubernetes/cmd/kubelet") == "kubelet"

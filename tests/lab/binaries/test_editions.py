"""Other versions beside the toolchain: built when asked for, and nothing else touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.lab import host
from pytest_istio_mc.lab.binaries import editions, golang, imagestore, oci, toolchain
from pytest_istio_mc.lab.binaries.cache import BuildCache, cache_home
from pytest_istio_mc.lab.binaries.components import GoModule
from pytest_istio_mc.lab.binaries.golang import Go
from pytest_istio_mc.progress import Progress


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What builds of stand-ins have made, in order."""
    names: list[str] = []
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path / "cache"))

    def compile_module(
        go: Go, module: GoModule, into: Path, logs: Path, progress: Progress
    ) -> None:
        names.append(module.name)
        for name in module.files:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_text(module.name)

    def fetch_envoy(self: toolchain.Build, folder: Path) -> None:
        (folder / toolchain.ENVOY).write_text("envoy")

    def add_images(
        self: toolchain.Build,
        folder: Path,
        programs: Path,
        recipes: Callable[[Path], Sequence[oci.Image]],
    ) -> None:
        root = folder / imagestore.ROOT
        names.append("images beside others" if root.exists() else "images")
        root.mkdir(exist_ok=True)
        database = root / "meta.db"
        before = database.read_text() if database.exists() else ""
        database.write_text(f"{before}{folder.name.partition('-')[2]};")
        assert (programs / "containerd").is_file()

    monkeypatch.setattr(golang, "build", compile_module)
    monkeypatch.setattr(
        golang, "provide", lambda home, logs, progress: Go(Path("go"), golang.expected_version())
    )
    monkeypatch.setattr(host, "examine_for_build", lambda cache, compiling: [])
    monkeypatch.setattr(toolchain.Build, "_fetch_envoy", fetch_envoy)
    monkeypatch.setattr(toolchain.Build, "add_images", add_images)
    return names


def test_without_a_version_there_is_the_toolchain_and_nothing_else(made: list[str]) -> None:
    tools = editions.ensure(Progress())

    assert tools == toolchain.cached()
    assert [build.minor for build in tools.istio] == ["1.31"]
    assert tools.kubernetes is None
    assert made == ["mesh", "containerd", "coredns", "etcd", "images"]


def test_another_istio_is_built_once_beside_the_toolchain_which_stays_as_it_is(
    made: list[str],
) -> None:
    base = editions.ensure(Progress())
    before = (base.containerd_root / "meta.db").read_text()

    tools = editions.ensure(Progress(), "1.30")
    again = editions.ensure(Progress(), "1.30")

    assert made[5:] == ["istio-1.30", "images beside others"]
    assert tools == again == editions.cached("1.30")
    assert [build.minor for build in tools.istio] == ["1.30", "1.31"]
    assert {build.tag for build in tools.istio} == {"1.30.4", "lab"}
    old, new = tools.istio
    assert (old.istioctl.read_text(), new.istioctl.read_text()) == ("istio-1.30", "mesh")
    assert tools.versions["istio"].startswith("1.30.4-")
    assert base.versions["istio"].startswith("1.31.0-")
    assert tools.bin == base.bin
    # nodes get both: the images of the toolchain are in the same root
    assert (tools.containerd_root / "meta.db").read_text().startswith(before)
    assert (base.containerd_root / "meta.db").read_text() == before
    assert editions.ensure(Progress()) == base
    assert BuildCache(cache_home()).find(base.key) is not None


def test_another_kubernetes_goes_with_any_istio(made: list[str]) -> None:
    tools = editions.ensure(Progress(), "1.30", "1.35")

    assert made[5:] == ["istio-1.30", "images beside others", "kubernetes-1.35"]
    assert tools.kubernetes is not None
    assert (tools.kubernetes / "kubelet").read_text() == "kubernetes-1.35"
    assert (tools.bin / "kubelet").read_text() == "mesh"
    assert tools.versions["kubernetes"].startswith("v1.35.")
    assert tools.versions["istio"].startswith("1.30.")
    assert editions.cached("", "1.35") is not None
    assert editions.cached("1.30", "1.35") == tools


def test_a_change_of_another_version_does_not_build_the_toolchain_anew(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = editions.ensure(Progress(), "1.30")
    monkeypatch.setattr(editions, "LAYOUT", 99)

    changed = editions.ensure(Progress(), "1.30")

    assert changed.key == base.key
    # the programs are those of before: only the images are put together anew
    assert made[7:] == ["images beside others"]


def test_what_may_be_removed_by_hand_is_never_what_is_in_use(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    base = editions.ensure(Progress())
    editions.ensure(Progress(lines.append), "1.30")
    assert not [line for line in lines if "remove by hand" in line]

    monkeypatch.setattr(editions, "LAYOUT", 99)
    editions.ensure(Progress(lines.append), "1.30")

    (told,) = (line for line in lines if "remove by hand" in line)
    assert base.key not in told
    assert "istio-1.30-" in told


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        (("1.29", ""), 'Istio: no lab can be made of version "1.29"'),
        (("", "1.31"), 'Kubernetes: no lab can be made of version "1.31"'),
    ],
)
def test_a_version_that_nobody_has_is_refused_before_anything_is_built(
    made: list[str], versions: tuple[str, str], told: str
) -> None:
    with pytest.raises(UsageProblem, match=told):
        editions.ensure(Progress(), *versions)

    assert made == []


def test_a_copied_root_shares_layers_and_nothing_that_is_written_to(tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    (prepared / "layers").mkdir(parents=True)
    (prepared / "layers" / "file").write_text("layer")
    (prepared / "meta.db").write_text("database")

    imagestore.copy_root(prepared, tmp_path / "copy")

    assert (tmp_path / "copy" / "layers" / "file").samefile(prepared / "layers" / "file")
    (tmp_path / "copy" / "meta.db").write_text("changed")
    assert (prepared / "meta.db").read_text() == "database"

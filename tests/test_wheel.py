"""The wheel: what is in it, and that it works where nothing but it is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from pytest_istio_mc.session.certification import own_version

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, made by way of the source archive, as for a release.

    That archive lies beside it.
    """
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, unpacked."""
    (archive,) = wheel.parent.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as stream:
        stream.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's ``bin``, with our wheel, and with the dependencies of the environment that runs this test.

    Those come by a path file instead of from the network; our own package is hidden there because ours comes first.
    """
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home, with_pip=False, symlinks=True)
    packages = (
        home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    )
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(home / "bin/python"),
            "install",
            "-q",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        check=True,
        capture_output=True,
    )
    ours = sysconfig.get_path("purelib")
    # only packages, not the path files in there: one of them points at the checkout
    (packages / "dependencies.pth").write_text(f"import sys; sys.path.append({ours!r})\n")
    return home / "bin"


def run(
    program: Path, *arguments: str, folder: Path, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a program of the fresh environment in ``folder``, which is not the checkout."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MESH_", "PYTEST_", "PYTHON"))
    }
    return subprocess.run(
        [str(program), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def test_it_holds_suites_fixtures_and_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert "pytest_istio_mc/suites/__init__.py" in names
    assert "pytest_istio_mc/fixtures/expect.py" in names
    assert "pytest_istio_mc/evidence/conformance-report.schema.json" in names
    assert any(name.endswith("go.sum") for name in names)
    assert {"pytest_istio_mc/py.typed", "pytest_istio_mc/docs/attach-clusterrole.yaml"} <= {*names}
    assert {name.partition("/")[0] for name in names} == {
        "pytest_istio_mc",
        f"pytest_istio_mc-{own_version()}.dist-info",
    }
    assert not [
        name for name in names if "__pycache__" in name or name.endswith((".go", ".so", ".pyc"))
    ]
    folders = ("suites", "fixtures")
    in_checkout = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }
    in_wheel = {
        name.removeprefix("pytest_istio_mc/") for name in names if name.split("/")[1] in folders
    }
    assert in_checkout == in_wheel


def test_links_of_the_readme_work_on_a_package_index(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    text = archive.read(metadata).decode()

    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= {
        *re.findall(r"^Project-URL: (\w+),", text, re.MULTILINE)
    }


def test_the_wheel_passes_the_unit_tests_of_the_source_archive(
    installed: Path, unpacked: Path
) -> None:
    """Its tests, with the package from the wheel; what examines this checkout's own build aside."""
    shutil.rmtree(unpacked / "pytest_istio_mc")
    ours = ("-m", "not lab and not faults", "--ignore=tests/test_wheel.py", "-q", "-n", "2")
    checkout_only = ("--ignore=tests/test_docs.py", "--ignore=tests/test_layers.py")

    done = run(
        installed / "python", "-m", "pytest", *ours, *checkout_only, folder=unpacked, seconds=600
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_suites_are_collected_from_an_empty_folder_with_the_same_ids_as_here(
    installed: Path, tmp_path: Path
) -> None:
    arguments = ("--collect-only", "-q", "--mesh-topology=multi-network-multi-primary")

    there = run(
        installed / "python",
        "-m",
        "pytest",
        "--pyargs",
        "pytest_istio_mc.suites",
        *arguments,
        folder=tmp_path,
    )
    here = run(Path(sys.executable), "-m", "pytest", *arguments, folder=ROOT)
    by_path = run(Path(sys.executable), "-m", "pytest", "suites", *arguments, folder=ROOT)

    assert there.returncode == here.returncode == 0, (
        there.stdout + there.stderr + here.stdout + here.stderr
    )
    ids = [line for line in there.stdout.splitlines() if "::" in line]
    assert ids
    assert all(id.startswith("suites/") for id in ids)
    assert ids == [line for line in here.stdout.splitlines() if "::" in line]
    assert ids == [line for line in by_path.stdout.splitlines() if "::" in line]
    assert not list(tmp_path.glob("mesh-report*"))


def test_the_package_comes_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    said = run(
        installed / "python",
        "-c",
        "import pytest_istio_mc.suites as suites; print(suites.__file__)",
        folder=tmp_path,
    )

    assert Path(said.stdout.strip()).is_relative_to(installed.parent)


def test_the_list_and_the_plan_need_no_cluster(installed: Path, tmp_path: Path) -> None:
    listed = run(
        installed / "python",
        "-m",
        "pytest",
        "--pyargs",
        "pytest_istio_mc.suites",
        "--mesh-list",
        folder=tmp_path,
    )
    planned = run(
        installed / "python",
        "-m",
        "pytest",
        "--mesh-topology=multi-network-multi-primary",
        "--mesh-plan",
        folder=tmp_path,
    )

    assert (listed.returncode, planned.returncode) == (0, 0), listed.stderr + planned.stderr
    assert "MC-TRUST-001  core, static" in listed.stdout
    assert "checks would be judged" in planned.stdout


def test_suites_without_a_mesh_say_what_is_missing(installed: Path, tmp_path: Path) -> None:
    result = run(
        installed / "python", "-m", "pytest", "--pyargs", "pytest_istio_mc.suites", folder=tmp_path
    )

    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "add --mesh-topology=multi-network-multi-primary" in result.stderr


def test_the_command_is_installed(installed: Path, tmp_path: Path) -> None:
    assert "lab" in run(installed / "istio-mc", "--help", folder=tmp_path).stdout

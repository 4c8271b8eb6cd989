"""The wheel: its contents, and that it works on its own."""

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
PYTEST = ("-m", "pytest")
SUITES = ("--pyargs", "pytest_istio_mc.suites")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, made from the source archive beside it."""
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
    """The ``bin`` of a fresh environment with our wheel and its dependencies.

    The dependencies are those of this environment, by a path file. Our own package is hidden there
    because the one from the wheel comes first.
    """
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin/python")]
    install = [*pip, "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (packages,) = (home / "lib").glob("python*/site-packages")
    ours = sysconfig.get_path("purelib")
    # only packages, not the path files in there: one of them points at the checkout
    (packages / "dependencies.pth").write_text(f"import sys; sys.path.append({ours!r})\n")
    return home / "bin"


def run(
    program: Path, *arguments: str, folder: Path, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a program in ``folder``, without the variables of these tests."""
    ours = ("MESH_", "PYTEST_", "PYTHON")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
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
    assert {"pytest_istio_mc/py.typed", "pytest_istio_mc/docs/attach.md"} <= {*names}
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"pytest_istio_mc", f"pytest_istio_mc-{own_version()}.dist-info"}
    compiled = (".go", ".so", ".pyc")
    assert not [name for name in names if "__pycache__" in name or name.endswith(compiled)]
    folders = ("suites", "fixtures")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    in_checkout = {f"pytest_istio_mc/{path.relative_to(ROOT).as_posix()}" for path in files}
    assert in_checkout == {name for name in names if name.split("/")[1] in folders}


def test_links_of_the_readme_work_on_a_package_index(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    text = archive.read(metadata).decode()

    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []
    named = re.findall(r"^Project-URL: (\w+),", text, re.MULTILINE)
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= set(named)


def test_the_wheel_passes_the_unit_tests_of_the_source_archive(
    installed: Path, unpacked: Path
) -> None:
    """The tests of the archive run with the package from the wheel.

    - All are collected, except those that examine the checkout itself.
    - Run are those of modules with files of their own: all the others ran with the same modules.
    """
    shutil.rmtree(unpacked / "pytest_istio_mc")
    left_out = [f"--ignore=tests/test_{name}.py" for name in ("wheel", "docs", "layers")]
    options = ("-m", "not lab and not faults", "-q", *left_out)
    with_files = ("evidence", "lab", "probes/agent", "providers", "test_cli.py", "test_snapshot.py")

    found = run(installed / "python", *PYTEST, *options, "--collect-only", folder=unpacked)
    done = run(
        installed / "python", *PYTEST, *options, "-n", "2", *(f"tests/{one}" for one in with_files),
        folder=unpacked, seconds=1500,
    )  # fmt: skip

    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_suites_are_collected_from_an_empty_folder_with_the_same_ids_as_here(
    installed: Path, tmp_path: Path
) -> None:
    collect = (*PYTEST, "--collect-only", "-q", "--mesh-topology=multi-network-multi-primary")

    there = run(installed / "python", *collect, *SUITES, folder=tmp_path)
    here = run(Path(sys.executable), *collect, folder=ROOT)
    by_path = run(Path(sys.executable), *collect, "suites", folder=ROOT)

    said = there.stdout + there.stderr + here.stdout + here.stderr
    assert there.returncode == here.returncode == 0, said
    ids = [line for line in there.stdout.splitlines() if "::" in line]
    assert ids
    assert all(id.startswith("suites/") for id in ids)
    assert ids == [line for line in here.stdout.splitlines() if "::" in line]
    assert ids == [line for line in by_path.stdout.splitlines() if "::" in line]
    assert not list(tmp_path.glob("mesh-report*"))


def test_the_package_comes_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    program = "import pytest_istio_mc.suites as suites; print(suites.__file__)"
    said = run(installed / "python", "-c", program, folder=tmp_path)

    assert Path(said.stdout.strip()).is_relative_to(installed.parent)


def test_the_list_and_the_plan_need_no_cluster(installed: Path, tmp_path: Path) -> None:
    python, topology = installed / "python", "--mesh-topology=multi-network-multi-primary"
    listed = run(python, *PYTEST, *SUITES, "--mesh-list", folder=tmp_path)
    planned = run(python, *PYTEST, topology, "--mesh-plan", folder=tmp_path)

    assert (listed.returncode, planned.returncode) == (0, 0), listed.stderr + planned.stderr
    assert "MC-TRUST-001  core, static" in listed.stdout
    assert "checks would be judged" in planned.stdout


def test_the_documentation_is_installed(installed: Path, tmp_path: Path) -> None:
    listed = run(installed / "istio-mc", "docs", folder=tmp_path)
    page = run(installed / "istio-mc", "docs", "attach.md", folder=tmp_path)

    assert str(installed.parent / "lib") in listed.stdout
    assert page.stdout == (ROOT / "docs" / "attach.md").read_text()


def test_suites_without_a_mesh_say_what_is_missing(installed: Path, tmp_path: Path) -> None:
    result = run(installed / "python", *PYTEST, *SUITES, folder=tmp_path)

    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "add --mesh-topology=multi-network-multi-primary" in result.stderr


def test_the_command_is_installed(installed: Path, tmp_path: Path) -> None:
    assert "lab" in run(installed / "istio-mc", "--help", folder=tmp_path).stdout

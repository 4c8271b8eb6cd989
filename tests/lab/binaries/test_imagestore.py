"""The prepared containerd root, made by the toolchain's real containerd."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.lab.binaries import imagestore
from pytest_istio_mc.lab.binaries.images import base_layer
from pytest_istio_mc.lab.binaries.oci import Content, Image, WrittenImage, pack, write_layout
from pytest_istio_mc.lab.binaries.toolchain import Toolchain, cached

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    """The toolchain, which must have been built."""
    found = cached()
    if found is None:
        pytest.skip("the toolchain is not built; run `istio-mc lab build`")
    return found


@pytest.fixture
def build(tmp_path: Path) -> Path:
    (tmp_path / "build").mkdir()
    return tmp_path / "build"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def archive_of(folder: Path, *images: Image) -> tuple[Path, tuple[WrittenImage, ...]]:
    written = write_layout(folder / "layout", images)
    pack(folder / "layout", folder / "images.tar")
    return folder / "images.tar", written


def running(program: str) -> list[str]:
    """The command lines of running programs whose path is ``program``."""
    paths = [path for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    lines = [path.read_bytes().decode(errors="replace") for path in paths]
    return [line for line in lines if line.startswith(program)]


def test_images_are_imported_and_unpacked_and_nothing_is_left_running_or_mounted(
    toolchain: Toolchain, build: Path, logs: Path, tmp_path: Path
) -> None:
    base = base_layer()
    images = [
        Image("lab.local/pause:1", [base], ["/usr/bin/sleep"]),
        Image("lab.local/two:1", [base, {"/two": b"two"}], ["/two"]),
    ]
    archive, written = archive_of(tmp_path, *images)

    root = imagestore.prepare(build, toolchain.bin, archive, written, logs)

    snapshots = root / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"
    assert [path.read_text() for path in snapshots.glob("*/fs/two")] == ["two"]
    assert len(list(snapshots.glob("*/fs/usr/bin/sleep"))) == 1
    assert list((root / "io.containerd.metadata.v1.bolt").glob("*.db"))
    assert [path.name for path in build.iterdir()] == ["containerd"]
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert [line for line in running(str(toolchain.bin / "containerd")) if str(build) in line] == []


def test_a_program_that_is_also_in_an_image_is_kept_once(
    toolchain: Toolchain, build: Path, logs: Path, tmp_path: Path
) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("agent", "other"):
        (binaries / name).write_text(name)
    layer: dict[str, Content] = {
        "/usr/local/bin/agent": binaries / "agent",
        "/usr/local/bin/other": b"something else",
    }
    image = Image("lab.local/one:1", [layer], ["/usr/local/bin/agent"])
    archive, written = archive_of(tmp_path, image)
    root = imagestore.prepare(build, toolchain.bin, archive, written, logs)

    imagestore.share_programs(root, binaries)

    (unpacked,) = root.glob("**/agent")
    assert unpacked.samefile(binaries / "agent")
    assert (binaries / "other").read_text() == "other"
    assert (binaries / "other").stat().st_nlink == 1


def test_an_archive_that_is_none_is_refused_with_what_ctr_said(
    toolchain: Toolchain, build: Path, logs: Path, tmp_path: Path
) -> None:
    (tmp_path / "images.tar").write_bytes(b"nothing" * 1000)

    with pytest.raises(ProvisionError) as caught:
        imagestore.prepare(build, toolchain.bin, tmp_path / "images.tar", (), logs)

    assert "prepared images: could not be imported" in str(caught.value)
    assert caught.value.log_tail


def test_an_image_that_did_not_arrive_is_missed(
    toolchain: Toolchain, build: Path, logs: Path, tmp_path: Path
) -> None:
    archive, written = archive_of(tmp_path, Image("lab.local/one:1", [{"/one": b"one"}], ["/one"]))
    other = WrittenImage("lab.local/other:1", written[0].digest, written[0].chain_id)

    said = r"image lab\.local/other:1: was imported but is not there"
    with pytest.raises(ProvisionError, match=said):
        imagestore.prepare(build, toolchain.bin, archive, (*written, other), logs)


def test_an_image_that_was_not_unpacked_is_missed(
    toolchain: Toolchain, build: Path, logs: Path, tmp_path: Path
) -> None:
    archive, written = archive_of(tmp_path, Image("lab.local/one:1", [{"/one": b"one"}], ["/one"]))
    wrong = WrittenImage("lab.local/one:1", written[0].digest, "sha256:" + "0" * 64)

    with pytest.raises(ProvisionError, match="was not unpacked for overlayfs"):
        imagestore.prepare(build, toolchain.bin, archive, (wrong,), logs)


def test_a_containerd_that_dies_says_why(build: Path, logs: Path, tmp_path: Path) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    failing = "#!/bin/sh\necho 'level=fatal cannot open database'\nexit 1\n"
    (binaries / "containerd").write_text(failing)
    (binaries / "ctr").write_text("#!/bin/sh\nexit 1\n")
    for program in binaries.iterdir():
        program.chmod(0o755)

    with pytest.raises(ProvisionError) as caught:
        imagestore.prepare(build, binaries, tmp_path / "images.tar", (), logs)

    assert "containerd: ended at once" in str(caught.value)
    assert caught.value.log_tail == ("level=fatal cannot open database",)


def test_the_python_image_runs_from_the_hard_links_of_a_node(
    toolchain: Toolchain, tmp_path: Path
) -> None:
    """As on a node: hard links, an overlay of the layers, a process."""
    copy = tmp_path / "containerd"
    if toolchain.containerd_root.stat().st_dev != tmp_path.stat().st_dev:
        pytest.skip("the temporary folder is on another file system than the toolchain")
    subprocess.run(["cp", "-al", str(toolchain.containerd_root), str(copy)], check=True)
    snapshots = copy / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"
    (python,) = snapshots.glob("*/fs/usr/local/bin/python3")
    (base,) = snapshots.glob("*/fs/usr/bin/sleep")
    layers = f"{python.parents[3]}:{base.parents[2]}"
    merged = tmp_path / "merged"
    merged.mkdir()
    mount = f'mount -t overlay -o lowerdir={layers} overlay "$0"'
    script = f'{mount} && exec chroot "$0" /usr/local/bin/python3 -c "import ssl; print(6 * 7)"'
    private = ["unshare", "--mount", "--propagation", "private"]

    done = subprocess.run(
        [*private, "sh", "-c", script, str(merged)], capture_output=True, text=True
    )

    assert (done.stdout, done.stderr) == ("42\n", "")

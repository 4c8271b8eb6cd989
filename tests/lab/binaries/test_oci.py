"""OCI layouts: they are what the image specification asks for, byte by byte."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.lab.binaries.oci import (
    Content,
    Folder,
    Image,
    Symlink,
    architecture,
    chain_id,
    pack,
    write_layout,
)


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """The blob of a descriptor, which must have the descriptor's digest and size."""
    digest: str = descriptor["digest"]
    data = (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert sha256(data) == digest
    assert len(data) == descriptor["size"]
    return data


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """An executable file."""
    path = tmp_path / "program"
    path.write_bytes(b"#!/bin/sh\n")
    path.chmod(0o700)
    return path


def layers_of(program: Path) -> list[dict[str, Content]]:
    base: dict[str, Content] = {
        "/etc/passwd": b"root:x:0:0\n",
        "/tmp": Folder(0o1777),
        "/lib": Symlink("usr/lib"),
    }
    return [base, {"/usr/bin/program": program}]


def test_every_digest_and_size_of_a_layout_is_true(tmp_path: Path, program: Path) -> None:
    layout, layers, start = tmp_path / "layout", layers_of(program), ["/usr/bin/program"]
    image = Image("lab.local/one:1", layers, start, user="1337", environment={"A": "b"})

    (written,) = write_layout(layout, [image])

    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == written.name == "lab.local/one:1"
    manifest = json.loads(blob(layout, entry))
    configuration = json.loads(blob(layout, manifest["config"]))
    diff_ids = [sha256(gzip.decompress(blob(layout, layer))) for layer in manifest["layers"]]
    assert configuration["rootfs"]["diff_ids"] == diff_ids
    assert written.chain_id == sha256(" ".join(diff_ids).encode()) == chain_id(diff_ids)
    assert configuration["architecture"] == architecture()
    assert configuration["config"]["User"] == "1337"
    assert "A=b" in configuration["config"]["Env"]
    described = (entry, manifest["config"], *manifest["layers"])
    named = {f"sha256:{path.name}" for path in (layout / "blobs" / "sha256").iterdir()}
    assert named == {one["digest"] for one in described}


def test_a_layer_holds_the_files_as_root_s_with_the_folders_above_them(
    tmp_path: Path, program: Path
) -> None:
    base, own = layers_of(program)
    write_layout(tmp_path / "layout", [Image("one", [{**base, **own}], ["/usr/bin/program"])])

    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    (layer,) = json.loads(blob(tmp_path / "layout", index["manifests"][0]))["layers"]
    (tmp_path / "layer.tar").write_bytes(gzip.decompress(blob(tmp_path / "layout", layer)))
    with tarfile.open(tmp_path / "layer.tar") as tar:
        members = {member.name: member for member in tar}
        taken = tar.extractfile("usr/bin/program")
        assert taken is not None
        assert taken.read() == program.read_bytes()

    assert list(members) == ["etc", "etc/passwd", "lib", "tmp", "usr", "usr/bin", "usr/bin/program"]
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}
    assert members["usr/bin/program"].mode == 0o755
    assert members["tmp"].mode == 0o1777
    assert members["lib"].linkname == "usr/lib"


def test_the_same_files_give_the_same_image(tmp_path: Path, program: Path) -> None:
    def write(name: str) -> str:
        image = Image("one", layers_of(program), ["/usr/bin/program"])
        return write_layout(tmp_path / name, [image])[0].digest

    first = write("first")
    program.touch()

    assert write("second") == first
    program.write_bytes(b"#!/bin/bash\n")
    assert write("third") != first


def test_a_layer_of_two_images_is_written_once(tmp_path: Path, program: Path) -> None:
    base, own = layers_of(program)
    pause, other = Image("pause", [base], ["/sleep"]), Image("program", [base, own], ["/program"])

    write_layout(tmp_path / "layout", [pause, other])

    blobs = (tmp_path / "layout" / "blobs" / "sha256").iterdir()
    assert len([path for path in blobs if path.read_bytes().startswith(b"\x1f\x8b")]) == 2


def test_a_file_below_a_link_of_its_layer_is_refused(tmp_path: Path, program: Path) -> None:
    image = Image("one", [{"/lib": Symlink("usr/lib"), "/lib/x": program}], ["/x"])

    with pytest.raises(ValueError, match="/lib/x lies below a symbolic link"):
        write_layout(tmp_path / "layout", [image])


def test_a_packed_layout_has_every_file(tmp_path: Path, program: Path) -> None:
    layout = tmp_path / "layout"
    write_layout(layout, [Image("one", layers_of(program), ["/usr/bin/program"])])

    pack(layout, tmp_path / "one.tar")

    files = [str(path.relative_to(layout)) for path in layout.rglob("*") if path.is_file()]
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert sorted(tar.getnames()) == sorted(files)

"""OCI image layouts, made from local files without a container engine.

They follow image-spec v1.1: image layout, manifest, configuration.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # those of Envoy's wheel
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIGURATION = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Symlink:
    """A symbolic link in an image."""

    target: str


@dataclass(frozen=True)
class Folder:
    """A folder in an image that is empty or has a special mode."""

    mode: int = 0o755


# At a path of an image: a copy of a file of this machine (links followed), text, a link, a folder.
Content = Path | bytes | Symlink | Folder


@dataclass(frozen=True)
class Image:
    """An image: its full name with tag, its layers, and its start.

    The layers are from the lowest up, each a mapping of absolute path to content.
    """

    name: str
    layers: Sequence[Mapping[str, Content]]
    entrypoint: Sequence[str]
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WrittenImage:
    """An image in a layout: its name, and the digest of its manifest.

    ``chain_id`` is that of its topmost layer, which names its snapshot.
    """

    name: str
    digest: str
    chain_id: str


def architecture() -> str:
    """This machine's architecture, in the words of images."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def write_layout(folder: Path, images: Sequence[Image]) -> tuple[WrittenImage, ...]:
    """Write images as one OCI layout below ``folder``.

    - A layer of several images (the same object) is written once.
    - The same files give the same digests: everything belongs to root and to the epoch.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers: dict[int, tuple[dict[str, Any], str]] = {}
    written, entries = [], []
    for image in images:
        described = []
        for layer in image.layers:
            if id(layer) not in layers:
                layers[id(layer)] = _write_layer(blobs, layer)
            described.append(layers[id(layer)])
        descriptors = [descriptor for descriptor, _ in described]
        diff_ids = [diff_id for _, diff_id in described]
        configuration = _write_json(blobs, _CONFIGURATION, _configuration(image, diff_ids))
        content = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": configuration}
        manifest = _write_json(blobs, _MANIFEST, content | {"layers": descriptors})
        written.append(WrittenImage(image.name, manifest["digest"], chain_id(diff_ids)))
        entries.append(manifest | {"annotations": {"io.containerd.image.name": image.name}})
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}
    (folder / "index.json").write_text(json.dumps(index))
    return tuple(written)


def pack(folder: Path, archive: Path) -> None:
    """Put a layout into one tar file, for ``ctr images import``."""
    with tarfile.open(archive, "w") as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            tar.add(path, str(path.relative_to(folder)))


def chain_id(diff_ids: Sequence[str]) -> str:
    """The name of a stack of layers (image-spec, "Layer ChainID")."""
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain


def _configuration(image: Image, diff_ids: Sequence[str]) -> dict[str, Any]:
    environment = {"PATH": PATH, **image.environment}
    process = {
        "Entrypoint": list(image.entrypoint),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "User": image.user,
    }
    return {
        "created": "1970-01-01T00:00:00Z",
        "architecture": architecture(),
        "os": "linux",
        "config": process,
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }


def _write_json(blobs: Path, media_type: str, document: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps(document, sort_keys=True).encode()
    digest = hashlib.sha256(text).hexdigest()
    (blobs / digest).write_bytes(text)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(text)}


def _write_layer(blobs: Path, layer: Mapping[str, Content]) -> tuple[dict[str, Any], str]:
    """Write one layer: its descriptor and diff id (the uncompressed digest)."""
    partial = blobs / f"partial-{os.getpid()}"
    with partial.open("wb") as file:
        compressed = _Digesting(file)
        # Layers are written and unpacked once, on this machine: level 1 saves a third of their
        # size, a higher one would only cost time.
        zipped = gzip.GzipFile("", "wb", compresslevel=1, fileobj=compressed, mtime=0)
        with zipped:
            plain = _Digesting(zipped)
            stream = cast("IO[bytes]", plain)
            with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                _fill(tar, layer)
    digest, size = compressed.sha256.hexdigest(), partial.stat().st_size
    partial.rename(blobs / digest)
    descriptor = {"mediaType": _LAYER, "digest": f"sha256:{digest}", "size": size}
    return descriptor, f"sha256:{plain.sha256.hexdigest()}"


def _fill(tar: tarfile.TarFile, layer: Mapping[str, Content]) -> None:
    links = {path for path, content in layer.items() if isinstance(content, Symlink)}
    folders = {str(parent): Folder() for path in layer for parent in Path(path).parents}
    folders.pop("/", None)
    tree: dict[str, Content] = {**folders, **layer}
    for path in sorted(tree):
        if any(str(parent) in links for parent in Path(path).parents):
            raise ValueError(f"{path} lies below a symbolic link of the same layer")
        content = tree[path]
        member = tarfile.TarInfo(path.lstrip("/"))
        if isinstance(content, Folder):
            member.type, member.mode = tarfile.DIRTYPE, content.mode
            tar.addfile(member)
        elif isinstance(content, Symlink):
            member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, content.target
            tar.addfile(member)
        elif isinstance(content, bytes):
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
        else:
            with content.open("rb") as file:
                found = os.fstat(file.fileno())
                member.size, member.mode = found.st_size, 0o755 if found.st_mode & 0o111 else 0o644
                tar.addfile(member, file)


class _Digesting:
    """A file to write to, with the SHA-256 of its bytes."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self.sha256 = hashlib.sha256()
        self._file = file

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

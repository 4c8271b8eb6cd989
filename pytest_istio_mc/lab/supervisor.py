"""Supervisor: the process that owns a lab from its start to its end.

It runs as ``python -m pytest_istio_mc.lab.supervisor FOLDER``.

- It reads the plan, a JSON line, from standard input, and makes the folder.
- It tells its events on standard output, a JSON line each: ``answering`` when all apiservers do,
  ``ready`` when all nodes are.
- It obeys the orders that come over the control socket.
- Standard input is its lifeline: the lab goes when its starter is gone, unless it is detached.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import MeshError, ProvisionError, UsageProblem
from . import cgroups, homes, network, node, pki
from .breakages import Breakage, Breakages
from .cluster import LabCluster, first_error
from .forward import Forwarder
from .journal import Entry, Journal
from .namespaces import Namespaces
from .orders import CONTROL
from .plan import LabPlan, NodePlan

_LOOK_SECONDS = 0.5  # within so long the end of a component is noticed


class Supervisor:
    """One lab, from plan to nothing left."""

    def __init__(self, plan: LabPlan, within_seconds: float) -> None:
        self.plan = plan
        self._within_seconds = within_seconds
        self._journal = Journal(plan.home)
        self._fabric: Namespaces | None = None
        self._inside: dict[str, Namespaces] = {}
        self._clusters: dict[str, LabCluster] = {}
        self._ended = threading.Event()
        self._count_lock = threading.Lock()
        self._silent = len(plan.nodes)
        self._detached = False
        self._breakages = Breakages(plan, self._clusters, self._namespaces_of_fabric)

    def start(self) -> None:
        """Make the namespaces and the network, then start all clusters side by side.

        The main thread calls it: the namespaces end with the thread that made them.
        """
        plan = self.plan
        network.modules()
        self._journal.add(Entry("cgroup", plan.cgroup))
        cgroups.create(*(f"{plan.cgroup}/{item.name}" for item in plan.nodes))
        self._fabric = Namespaces.create("lab.fabric", plan.home, self._journal)
        for item in plan.nodes:
            self._inside[item.name] = Namespaces.create(item.name, plan.home, self._journal)
        network.link(plan, self._fabric, self._inside)
        apiservers = {item.name: (item.node_address, 6443) for item in plan.nodes}
        forwarder = Forwarder(self._fabric.init, apiservers)
        forwarder.start()
        ports = forwarder.ports
        for item in plan.nodes:
            plan.folder(item).mkdir()
            pki.write(plan, item, ports[item.name])
        pki.write_shared_kubeconfig(plan)
        errors: list[MeshError] = []
        with ThreadPoolExecutor(len(plan.nodes)) as pool:
            start = self._start_cluster
            starts = [pool.submit(start, item, ports[item.name]) for item in plan.nodes]
            for started in starts:
                try:
                    started.result()
                except MeshError as error:
                    errors.append(error)
        if errors:
            raise first_error(errors)

    def _start_cluster(self, item: NodePlan, port: int) -> None:
        node.prepare(self.plan, item)
        cluster = LabCluster(self.plan, item, self._inside[item.name], port)
        self._clusters[item.name] = cluster
        cluster.start(self._within_seconds, tell_note, self._one_answers, self._ended)

    def _namespaces_of_fabric(self) -> Namespaces:
        if self._fabric is None:
            raise ProvisionError(f'lab "{self.plan.name}"', "has no network yet")
        return self._fabric

    def _one_answers(self) -> None:
        with self._count_lock:
            self._silent -= 1
            if not self._silent:
                tell(event="answering")

    def serve(self) -> None:
        """Watch the lifeline, and obey the orders that come over the control socket."""
        threading.Thread(target=self._watch_lifeline, name="lifeline", daemon=True).start()
        threading.Thread(target=self._take_orders, name="orders", daemon=True).start()

    def wait(self) -> None:
        """Wait for the end of the lab.

        - A component that ends without an order ends it: half a lab wastes time and misleads.
        - A detached lab stays as it is, for a look at what happened.
        """
        told: set[int] = set()
        while not self._ended.wait(_LOOK_SECONDS):
            for error in self._failures(told):
                tell_failure("died", error)
                print(error, file=sys.stderr, flush=True)
                if not self._detached:
                    return

    def _failures(self, told: set[int]) -> Iterator[MeshError]:
        """The components that have ended by themselves.

        Those that had to, because of something broken on purpose, are started again instead.
        """
        for cluster in self._clusters.values():
            for name, component in cluster.components.items():
                try:
                    component.require_alive()
                except MeshError as error:
                    if component.wrapper_pid in told:
                        continue
                    told.add(component.wrapper_pid)
                    if self._breakages.excuses(cluster.node.name, name):
                        component.start()
                    else:
                        yield error

    def end(self) -> None:
        """Ask for the end, from any thread or signal handler."""
        self._ended.set()

    def stop(self) -> None:
        """End all processes, then remove the cgroups. The caller removes the folder."""
        for cluster in self._clusters.values():
            cluster.stop()
        for inside in self._inside.values():
            inside.end()
        if self._fabric:
            self._fabric.end()
        cgroups.remove(self.plan.cgroup)

    def _watch_lifeline(self) -> None:
        while os.read(0, 4096):
            pass
        if not self._detached:
            self.end()

    def _take_orders(self) -> None:
        folder = os.open(self.plan.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            # Through the folder's descriptor: a socket's path has at most 107 bytes (unix(7)).
            listener.bind(f"/proc/self/fd/{folder}/{CONTROL}")
            listener.listen(16)
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        """Obey the orders of one conversation, and mend everything at its end.

        A conversation ends also when its other side is killed.
        """
        broken: dict[int, Breakage] = {}
        try:
            with connection, connection.makefile("rw") as stream:
                for line in stream:
                    try:
                        answer = {"ok": True, "result": self._obey(json.loads(line), broken)}
                    except (MeshError, OSError, KeyError, ValueError, TypeError) as error:
                        answer = {"ok": False, "error": str(error) or repr(error)}
                    stream.write(json.dumps(answer) + "\n")
                    stream.flush()
        except OSError:
            pass  # the other side is gone, and nobody waits for the answer
        finally:
            for breakage in broken.values():
                self._breakages.end(breakage)

    def _obey(self, order: Mapping[str, Any], broken: dict[int, Breakage]) -> Any:
        """Carry out one order and return its result."""
        match order["order"]:
            case "break":
                for_seconds = float(order["for_seconds"])
                breakage = self._breakages.begin(order["what"], order["details"], for_seconds)
                broken[breakage.number] = breakage
                return breakage.number
            case "mend":
                breakage = broken.pop(order["number"])
                self._breakages.end(breakage)
                if breakage.problem:
                    step = f"{breakage.what} could not be mended"
                    raise ProvisionError(f'lab "{self.plan.name}"', step, breakage.problem)
                return {"seconds": breakage.mended - breakage.began, "by_timer": breakage.by_timer}
            case "status":
                return {
                    name: {each: item.pid() for each, item in cluster.components.items()}
                    for name, cluster in self._clusters.items()
                }
            case "stop":
                self.end()
                return None
            case "detach":
                self._detached = True
                self._note_detached()
                return None
            case "signal":
                components = self._clusters[order["cluster"]].components
                components[order["component"]].signal(signal.Signals[order["signal"]])
                return None
            case "start":
                self._clusters[order["cluster"]].components[order["component"]].start()
                return None
        raise ValueError(f"unknown order {order['order']!r}")

    def _note_detached(self) -> None:
        """Note it in the plan on disk, for ``istio-mc lab list``."""
        path = self.plan.home / homes.PLAN
        document = json.loads(path.read_text())
        document["plan"]["detached"] = True
        path.with_suffix(".new").write_text(json.dumps(document))
        path.with_suffix(".new").replace(path)


def tell(**event: object) -> None:
    """Tell the starter of this process one event; perhaps nobody listens any more."""
    try:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        pass


def tell_failure(event: str, error: MeshError) -> None:
    """Tell an event with everything that an error says."""
    parts = ("thing", "step", "detail", "advice", "log_tail")
    tell(event=event, **{part: getattr(error, part) for part in parts})


def tell_note(text: str) -> None:
    """Tell a line of progress."""
    tell(event="note", text=text)


def main(folder: str) -> int:
    """Own the lab in ``folder`` until its end; 1 where it could not start."""
    home = Path(folder)
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return 1  # the starter is gone
    document = json.loads(line)
    supervisor = Supervisor(LabPlan.from_dict(document["plan"]), document["within_seconds"])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.end())
    try:
        homes.make(home)
    except MeshError as error:
        tell_failure("refused" if isinstance(error, UsageProblem) else "failed", error)
        return 1
    status = 0
    try:
        with (home / homes.LOG).open("w") as log:
            os.dup2(log.fileno(), sys.stderr.fileno())
        (home / homes.PLAN).write_text(line)
        supervisor.serve()
        supervisor.start()
        tell(event="ready")
        supervisor.wait()
    except MeshError as error:
        tell_failure("failed", error)
        status = 1
    except Exception:
        detail = traceback.format_exc()
        tell(event="failed", thing=f"lab {home.name}", step="starting failed", detail=detail)
        status = 1
    finally:
        supervisor.stop()
        shutil.rmtree(home, ignore_errors=True)
    return status


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))

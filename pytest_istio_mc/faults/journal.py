"""Journal: what is to be undone in a cluster, written there before anything is changed.

- It is a Secret in istiod's namespace, where tenants cannot write, since a removed remote secret is
  in it as a whole.
- Anybody who may write there can undo it, from any machine, once the run is dead or its deadline,
  by the API server's clock, has passed.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .. import shell
from ..errors import KubeError, MeshError
from ..kube.lease import seconds_of
from ..probes import manifests
from ..probes.leftovers import owner
from .undo import Step, from_list, to_list

if TYPE_CHECKING:
    from ..kube import Kube

TYPE = "istio-mc.dev/journal"
LABEL = "istio-mc.dev/journal"
NAME = re.compile(r"istio-mc-journal-([0-9a-f]{8})-[0-9a-f]{5}")

_KEY = "journal"
_VERSION = 1


@dataclass(frozen=True)
class Written:
    """A journal in a cluster, as it was written."""

    namespace: str
    name: str
    uid: str
    resource_version: str


@dataclass(frozen=True)
class Found:
    """A journal that was found in a cluster.

    - ``cluster`` is the cluster's name in the run's mesh; ``owner`` who ran it, for people.
    - ``deadline`` is in seconds since the epoch, by the API server's clock.
    - ``problem`` says why it is not to be trusted; then it has no steps.
    """

    written: Written
    run_id: str
    cluster: str = ""
    owner: str = ""
    deadline: float = 0.0
    steps: Sequence[Step] = field(default=(), repr=False)
    problem: str = ""

    def __str__(self) -> str:
        about = ", ".join(dict.fromkeys(step.about for step in self.steps))
        name = f"journal {self.written.namespace}/{self.written.name}"
        return f"{name} ({about})" if about else name

    def command(self, kube: Kube) -> str:
        """What to do with one that is not to be trusted."""
        file, namespace = kube.kubeconfig, self.written.namespace
        secret = f"secret/{self.written.name}"
        look = shell.kubectl(kube.context, "get -o yaml", secret, namespace=namespace, file=file)
        delete = shell.kubectl(kube.context, "delete", secret, namespace=namespace, file=file)
        return f"{look}; where it is nobody's, delete it: {delete}"


def write(
    kube: Kube,
    namespace: str,
    run_id: str,
    steps: Sequence[Step],
    deadline: float,
    *,
    instead_of: Written | None = None,
) -> Written:
    """Write a journal, and read it back; :class:`MeshError` where it is not there then."""
    document = {
        "version": _VERSION,
        "run": run_id,
        "cluster": kube.name if not steps else steps[0].cluster,
        "owner": owner(),
        "deadline": datetime.fromtimestamp(deadline, UTC).isoformat(),
        "undo": to_list(steps),
    }
    data = {_KEY: base64.b64encode(json.dumps(document).encode()).decode()}
    if instead_of is None:
        labels = {manifests.RUN_LABEL: run_id, LABEL: "true"}
        name = f"istio-mc-journal-{run_id}-{uuid.uuid4().hex[:5]}"
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        body = {"apiVersion": "v1", "kind": "Secret", "type": TYPE}
        kube.create({**body, "metadata": metadata, "data": data})
    else:
        name, version = instead_of.name, {"resourceVersion": instead_of.resource_version}
        try:
            kube.merge("Secret", name, namespace, {"metadata": version, "data": data})
        except KubeError as error:
            if error.status != 409:
                raise  # 409 also says that it was sent twice: what is read back decides
    found = kube.read("Secret", name, namespace)
    if found is None or found.get("data") != data:
        thing = f'cluster "{kube.name}": journal {namespace}/{name}'
        raise MeshError(thing, "was written, but cannot be read back")
    metadata = found["metadata"]
    return Written(namespace, name, metadata["uid"], metadata["resourceVersion"])


def is_there(kube: Kube, written: Written) -> bool:
    """Whether nobody else has undone it."""
    found = kube.read("Secret", written.name, written.namespace)
    return found is not None and found["metadata"]["uid"] == written.uid


def remove(kube: Kube, written: Written) -> None:
    """Remove it, once all in it is undone."""
    try:
        kube.delete("Secret", written.name, written.namespace, uid=written.uid)
    except KubeError as error:
        if error.status != 409:
            raise


def journals(kube: Kube, namespace: str) -> Iterator[Found]:
    """All journals in a namespace of istiod."""
    for item in kube.list("Secret", namespace, labels=LABEL):
        metadata = item["metadata"]
        uid, version = metadata["uid"], metadata["resourceVersion"]
        written = Written(namespace, metadata["name"], uid, version)
        run_id = str((metadata.get("labels") or {}).get(manifests.RUN_LABEL, ""))
        yield _read(item, written, run_id)


def _read(item: Mapping[str, Any], written: Written, run_id: str) -> Found:
    named = NAME.fullmatch(written.name)
    if item.get("type") != TYPE or named is None or named[1] != run_id:
        return Found(written, run_id, problem="its name, type and label do not fit")
    try:
        document = json.loads(base64.b64decode((item.get("data") or {})[_KEY]))
        if document["version"] != _VERSION or document["run"] != run_id:
            return Found(written, run_id, problem="it is of another version or run")
        steps, cluster = from_list(document["undo"]), str(document["cluster"])
        deadline, owner = seconds_of(document["deadline"]), str(document["owner"])
    except (MeshError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Found(written, run_id, problem=f"it cannot be read: {error}")
    for step in steps:
        why = step.objection(run_id, written.namespace)
        if step.cluster != cluster:
            why = why or "it is about another cluster"
        if why:
            return Found(written, run_id, problem=f"{type(step).__name__}: {why}")
    return Found(written, run_id, cluster, owner, deadline, steps)

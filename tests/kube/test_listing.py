"""Collections in pages: whole, one by one, metadata only, and of what moment."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.listing import PAGE
from tests.kube.fake_api import FakeApi, Handler, client_of, fake_api

PODS, SERVICES = 10_000, 1_000
FILLER = "x" * 6000  # a pod of a mesh, with its sidecar, is of that size and more


def item(number: int, *, whole: bool, revision: int) -> dict[str, Any]:
    metadata = {"name": f"a{number:05}", "namespace": "b", "labels": {"app": str(number % 7)}}
    spec = {"spec": {"filler": FILLER, "revision": revision}}
    return {"metadata": metadata, **(spec if whole else {})}


class Collection:
    """Answers as an API server does: pages, tokens, and 410 for moments that it has forgotten."""

    def __init__(self, size: int, *, forgets_after: int = 0) -> None:
        self.size, self.revision, self.forgets_after = size, 1, forgets_after

    def __call__(self, handler: Handler) -> None:
        query = handler.last.query
        whole = "PartialObjectMetadataList" not in handler.headers["Accept"]
        limit = int(query.get("limit", self.size))
        begin, revision = 0, self.revision
        if token := query.get("continue"):
            begin, revision = map(int, token.split("-"))
        if self.forgets_after and begin >= self.forgets_after and revision == self.revision:
            self.revision += 1
        if token and revision != self.revision:
            metadata = {"continue": f"{begin}-{self.revision}"}
            expired = {"kind": "Status", "code": 410, "reason": "Expired", "metadata": metadata}
            self.forgets_after = 0
            handler.reply(410, expired)
            return
        end = min(self.size, begin + limit)
        items = [item(number, whole=whole, revision=revision) for number in range(begin, end)]
        following = f"{end}-{revision}" if end < self.size else ""
        handler.reply(200, {"metadata": {"continue": following}, "items": items})


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as running:
        yield running


@pytest.fixture
def kube(api: FakeApi, tmp_path: Path) -> Iterator[Kube]:
    client = client_of(api.url, tmp_path)
    yield client
    client.close()


def names(objects: list[dict[str, Any]]) -> list[str]:
    return [entry["metadata"]["name"] for entry in objects]


@pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])
def test_all_pages_are_read(api: FakeApi, kube: Kube, size: int) -> None:
    api.answer = Collection(size)

    listed, each = kube.list("Pod", "b", labels="a=b"), list(kube.each("Pod", "b", labels="a=b"))

    assert names(listed) == names(each) == [f"a{number:05}" for number in range(size)]
    assert {seen.query["limit"] for seen in api.seen} == {str(PAGE)}
    assert {seen.query["labelSelector"] for seen in api.seen} == {"a=b"}
    assert len(api.seen) == 2 * max(1, -(-size // PAGE))


def test_a_list_is_of_one_moment_though_the_first_was_forgotten(api: FakeApi, kube: Kube) -> None:
    api.answer = Collection(3 * PAGE, forgets_after=PAGE)

    listed = kube.list("Pod")

    assert names(listed) == [f"a{number:05}" for number in range(3 * PAGE)]
    assert {entry["spec"]["revision"] for entry in listed} == {2}
    assert "limit" not in api.seen[-1].query
    assert len(api.seen) == 3


def test_objects_one_by_one_come_once_though_a_moment_was_forgotten(
    api: FakeApi, kube: Kube
) -> None:
    api.answer = Collection(3 * PAGE, forgets_after=PAGE)

    seen = list(kube.each("Pod"))

    assert names(seen) == [f"a{number:05}" for number in range(3 * PAGE)]
    assert {entry["spec"]["revision"] for entry in seen} == {1, 2}


def test_a_moment_that_is_forgotten_without_a_token_is_an_error(api: FakeApi, kube: Kube) -> None:
    def answer(handler: Handler) -> None:
        if "continue" in handler.last.query:
            handler.reply(410, {"kind": "Status", "message": "too old"})
        else:
            handler.reply(200, {"metadata": {"continue": "x"}, "items": []})

    api.answer = answer

    with pytest.raises(KubeError, match="410: too old"):
        list(kube.each("Pod"))


def test_metadata_alone_is_asked_for(api: FakeApi, kube: Kube) -> None:
    api.answer = Collection(3)

    assert all("spec" in pod for pod in kube.list("Pod"))
    assert not any("spec" in pod for pod in kube.list("Pod", metadata_only=True))
    assert not any("spec" in pod for pod in kube.each("Pod", metadata_only=True))
    assert api.seen[-1].headers["Accept"] == (
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
    )


def test_each_reads_no_page_before_it_is_wanted(api: FakeApi, kube: Kube) -> None:
    api.answer = Collection(3 * PAGE)

    pods = kube.each("Pod")
    assert api.seen == []
    next(pods)
    assert len(api.seen) == 1


@pytest.mark.parametrize(
    ("read", "at_most_mib"),
    [
        ('kube.list("Pod", metadata_only=True)', 30),
        ('collections.Counter(pod["metadata"]["labels"]["app"] for pod in kube.each("Pod"))', 30),
        ('kube.list("Service")', 30),
    ],
)
def test_ten_thousand_pods_cost_little_memory(
    api: FakeApi, kube: Kube, tmp_path: Path, read: str, at_most_mib: int
) -> None:
    pods, services = Collection(PODS), Collection(SERVICES)
    api.answer = lambda handler: (pods if "pods" in handler.path else services)(handler)
    # VmHWM begins with the program; ru_maxrss would have begun with what this process had
    program = f"""
        import collections, sys
        from pathlib import Path
        from pytest_istio_mc.kube import Kube

        def peak_mib():
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

        kube = Kube("east", sys.argv[1], "prod")
        kube.list("Namespace")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew, see proc(5)
        before = peak_mib()
        kept = {read}
        print(peak_mib() - before)
    """

    grown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), kube.kubeconfig],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert 0 < float(grown) < at_most_mib

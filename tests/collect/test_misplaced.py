"""Remote secrets in other namespaces are looked for where that is allowed, and else not missed."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.istio_names import REMOTE_SECRETS
from tests.fake_clusters import FakeCluster, FakeMesh
from tests.static_checks import judge_all


def refusing(monkeypatch: pytest.MonkeyPatch, status: int) -> FakeMesh:
    """A mesh whose clusters refuse to list the Secrets of all namespaces."""
    answer = FakeCluster.list

    def listed(self: FakeCluster, kind: str, namespace: str | None = None, **how: Any) -> Any:
        if kind == "Secret" and namespace is None:
            raise KubeError(self.name, "GET /api/v1/secrets", "refused", status=status)
        return answer(self, kind, namespace, **how)

    monkeypatch.setattr(FakeCluster, "list", listed)
    return FakeMesh()


@pytest.mark.parametrize("status", [403, 500])
def test_where_they_cannot_be_listed_everywhere_nothing_else_is_missed(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    usual = judge_all(FakeMesh().record())

    snapshot = refusing(monkeypatch, status).record()

    assert [failure for cluster in snapshot for failure in cluster.failures] == []
    assert {id: verdict.outcome for id, verdict in judge_all(snapshot).items()} == {
        id: verdict.outcome for id, verdict in usual.items()
    }


@pytest.mark.parametrize("cluster", [1, 2])
def test_one_in_the_wrong_namespace_is_seen_where_it_may_be(cluster: int) -> None:
    mesh = FakeMesh()
    secret = next(
        item
        for item in mesh[cluster].objects["Secret"]
        if REMOTE_SECRETS.split("=")[0] in (item["metadata"].get("labels") or {})
    )
    secret["metadata"]["namespace"] = "default"

    found = mesh.record().clusters[f"cluster{cluster}"].secrets

    assert [one.namespace for one in found if one.name == secret["metadata"]["name"]] == ["default"]

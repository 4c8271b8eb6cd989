"""Remote secrets in other namespaces are looked for where that is allowed, and else not missed."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.istio_names import REMOTE_SECRETS
from pytest_istio_mc.verdicts import Outcome
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


def test_who_may_not_list_them_everywhere_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = judge_all(FakeMesh().record())

    snapshot = refusing(monkeypatch, 403).record()

    assert [failure for cluster in snapshot for failure in cluster.failures] == []
    assert {id: verdict.outcome for id, verdict in judge_all(snapshot).items()} == {
        id: verdict.outcome for id, verdict in usual.items()
    }


def test_an_api_server_that_fails_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = refusing(monkeypatch, 500).record()

    assert all(cluster.failures for cluster in snapshot)
    outcomes = {verdict.outcome for verdict in judge_all(snapshot).values()}
    assert Outcome.INCONCLUSIVE in outcomes
    assert Outcome.NON_CONFORMANT not in outcomes


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

"""Steps of undoing travel to another process and back."""

from __future__ import annotations

from pytest_istio_mc.faults.undo import (
    Merge,
    Remove,
    RenewToken,
    Restore,
    Undo,
    as_it_was,
    from_list,
    to_list,
)

SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "one", "namespace": "istio-system"},
    "data": {"east": "eA=="},
}


def test_every_step_survives_the_way_to_another_process() -> None:
    steps: list[Undo] = [
        Restore("east", SECRET),
        Merge(
            "east", "Service", "helloworld", "probes", {"spec": {"selector": {"app": "helloworld"}}}
        ),
        Remove("west", "Secret", "one", "istio-system"),
        RenewToken("west", SECRET, (("east", SECRET),)),
    ]

    assert from_list(to_list(steps)) == steps


def test_what_only_the_api_server_may_say_is_left_out() -> None:
    kept = {"name": "one", "namespace": "istio-system", "labels": {"istio/multiCluster": "true"}}
    found = {
        **SECRET,
        "metadata": {**kept, "uid": "1", "resourceVersion": "7", "managedFields": []},
        "status": {"phase": "Active"},
    }

    assert as_it_was(found) == {**SECRET, "metadata": kept}

"""``istio-mc mesh-config`` changes what it is told to, and nothing else."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import yaml

from pytest_istio_mc import cli
from pytest_istio_mc.cli.mesh_config import change
from pytest_istio_mc.errors import UsageProblem

PROVIDER = {"name": "tracer", "lightstep": {"accessToken": "theirs"}}


def config_map(**mesh: Any) -> str:
    """A ConfigMap as kubectl prints it."""
    metadata = {"name": "istio", "namespace": "istio-system", "resourceVersion": "7"}
    text = yaml.safe_dump({"extensionProviders": [PROVIDER], **mesh})
    return json.dumps({"kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text, "x": "y"}})


def mesh_of(item: dict[str, Any]) -> Any:
    return yaml.safe_load(item["data"]["mesh"])


def test_a_value_is_set_and_the_rest_stays() -> None:
    settings = ['defaultConfig.proxyMetadata.CAPTURE="true"', "trustDomain=td2", 'aliases=["a"]']

    changed = change(config_map(defaultConfig={"meshId": "m"}), settings, [])

    assert mesh_of(changed) == {
        "extensionProviders": [PROVIDER],
        "defaultConfig": {"meshId": "m", "proxyMetadata": {"CAPTURE": "true"}},
        "trustDomain": "td2",
        "aliases": ["a"],
    }
    before = json.loads(config_map(defaultConfig={"meshId": "m"}))
    assert changed | {"data": None} == before | {"data": None}
    assert changed["data"]["x"] == "y"


def test_one_host_is_shared_again() -> None:
    local = {"settings": {"clusterLocal": True}, "hosts": ["*", "a.b"]}
    shared = {"settings": {"clusterLocal": False}, "hosts": ["*"]}

    changed = change(config_map(serviceSettings=[local, shared]), [], ["*"])
    (first, second) = mesh_of(changed)["serviceSettings"]

    assert (first["hosts"], second) == (["a.b"], shared)
    gone = change(config_map(serviceSettings=[{**local, "hosts": ["*"]}]), [], ["*"])
    assert "serviceSettings" not in mesh_of(gone)


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"data": {"mesh": "- a"}}'])
def test_what_is_no_mesh_configuration_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem, match="has no mesh configuration"):
        change(text, [], [])


@pytest.mark.parametrize("setting", ["a", "=b", "a..b=c", "a=[", ".=x"])
def test_a_setting_that_is_none_is_refused(setting: str) -> None:
    with pytest.raises(UsageProblem):
        change(config_map(), [setting], [])


def test_it_stands_between_two_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(config_map(trustDomain="old")))

    assert cli.main(["mesh-config", "--set=trustDomain=new"]) == cli.GOOD

    assert mesh_of(json.loads(capsys.readouterr().out))["trustDomain"] == "new"

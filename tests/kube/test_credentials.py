"""Who we are to an API server: tokens, certificates and plugins, renewed and kept to ourselves."""

from __future__ import annotations

import base64
import datetime as dt
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc.certificates import Authority, Leaf, make_leaf, make_root
from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.kube import Kube, credential_plugins
from tests.kube.fake_api import (
    EMPTY,
    FakeApi,
    Handler,
    client_of,
    closes,
    fake_api,
    kubeconfig,
    refuses,
    server_tls,
)

V1 = "client.authentication.k8s.io/v1"
NAME = "api.example.org"

USES: dict[str, Callable[[Kube], Any]] = {
    "request": lambda kube: kube.get_path("/version"),
    "making": lambda kube: kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": {}}),
    "stream": lambda kube: kube.exec("a", "b", "c", ["true"]),
}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as running:
        yield running


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_root()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def tokens(api: FakeApi) -> list[str]:
    return [seen.headers["Authorization"] for seen in api.seen]


def only(token: str) -> Callable[[Handler], None]:
    """Refuse every other token."""

    def answer(handler: Handler) -> None:
        if handler.headers["Authorization"] == f"Bearer {token}":
            handler.reply(418, {"kind": "Status", "message": "welcome"})
        else:
            refuses(401, "Unauthorized")(handler)

    return answer


def plugin(folder: Path, script: str, **more: Any) -> dict[str, Any]:
    """A user entry with a credential plugin that is this shell script."""
    program = folder / "plugin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    command = {"apiVersion": V1, "command": str(program), "interactiveMode": "Never"}
    return {"exec": {**command, **more}}


def credential(**status: str) -> str:
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": status})


# tokens


@pytest.mark.parametrize("use", USES)
def test_a_token_that_is_refused_is_read_again_once(api: FakeApi, tmp_path: Path, use: str) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    api.answer = only("new")
    kube = client_of(api.url, tmp_path, {"tokenFile": "token"})
    with pytest.raises(KubeError, match="401"):
        client_of(api.url, tmp_path, {"tokenFile": "token"}).version()
    api.seen.clear()
    kube.server  # noqa: B018 - it reads the file
    file.write_text("new\n")

    with pytest.raises(KubeError, match="welcome"):
        USES[use](kube)

    assert tokens(api) == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize("use", ["request", "making"])
def test_one_refusal_of_a_good_token_is_not_noticed(api: FakeApi, tmp_path: Path, use: str) -> None:
    api.then(refuses(401))

    USES[use](client_of(api.url, tmp_path))

    assert len(api.seen) == 2


def test_a_token_that_stays_refused_is_tried_twice_and_then_once(
    api: FakeApi, tmp_path: Path
) -> None:
    api.answer = refuses(401, "Unauthorized")
    kube = client_of(api.url, tmp_path)

    for expected in (2, 3):
        with pytest.raises(KubeError, match="HTTP 401: Unauthorized") as refused:
            kube.version()
        assert refused.value.status == 401
        assert len(api.seen) == expected


@pytest.mark.parametrize("use", USES)
def test_a_token_that_no_header_can_carry_is_not_shown(
    api: FakeApi, tmp_path: Path, use: str
) -> None:
    kube = client_of(api.url, tmp_path, {"token": "sec\r\nret"})

    with pytest.raises(KubeError, match="the token has a line end") as refused:
        USES[use](kube)

    assert "sec" not in str(refused.value).replace(str(tmp_path), "")
    assert api.seen == []


def test_a_line_end_after_a_token_is_no_part_of_it(api: FakeApi, tmp_path: Path) -> None:
    client_of(api.url, tmp_path, {"token": "opaque\n"}).list("Pod")

    assert tokens(api) == ["Bearer opaque"]


def test_name_and_password(api: FakeApi, tmp_path: Path) -> None:
    client_of(api.url, tmp_path, {"username": "jöe", "password": "p:w"}).list("Pod")

    assert tokens(api) == [f"Basic {encoded('jöe:p:w')}"]


@pytest.mark.parametrize("use", USES)
def test_impersonation_is_that_of_kubectl(api: FakeApi, tmp_path: Path, use: str) -> None:
    api.answer = refuses(418)
    user = {
        "token": "t",
        "as": "jane",
        "as-uid": "42",
        "as-groups": ["a", "b"],
        "as-user-extra": {"example.org/Reason: x%": ["näh", "two"]},
    }

    with pytest.raises(KubeError, match="418"):
        USES[use](client_of(api.url, tmp_path, user))

    (seen,) = api.seen
    headers = seen.headers
    assert headers["Impersonate-User"] == "jane"
    assert headers["Impersonate-Uid"] == "42"
    assert headers.get_all("Impersonate-Group") == ["a", "b"]
    extra = headers.get_all("Impersonate-Extra-example.org%2FReason%3A%20x%25", [])
    assert [value.encode("latin-1").decode() for value in extra] == ["näh", "two"]


@pytest.mark.parametrize(
    "user", [{"as-uid": "42"}, {"as-groups": ["a"]}, {"as-user-extra": {"a": ["b"]}}]
)
def test_impersonation_of_nobody_is_refused(tmp_path: Path, user: Mapping[str, Any]) -> None:
    with pytest.raises(KubeError, match="mean nothing without as"):
        client_of("https://127.0.0.1:1", tmp_path, user).version()


@pytest.mark.parametrize("use", USES)
def test_audit_logs_tell_who_asked(api: FakeApi, tmp_path: Path, use: str) -> None:
    api.answer = refuses(418)

    with pytest.raises(KubeError):
        USES[use](client_of(api.url, tmp_path))

    assert api.seen[0].headers["User-Agent"].startswith("pytest-istio-mc/")


# credential plugins


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(credential_plugins, "LIMIT_SECONDS", 0.5)
    return 0.5


@pytest.mark.parametrize(
    "script",
    [
        "echo waiting for the browser >&2; sleep 60",
        "echo waiting for the browser >&2; sleep 60 & sleep 60",
        "echo waiting for the browser >&2; trap '' TERM; while :; do sleep 1; done",
    ],
)
def test_a_plugin_that_does_not_end_is_ended(
    api: FakeApi, tmp_path: Path, short_limit: float, script: str
) -> None:
    kube = client_of(api.url, tmp_path, plugin(tmp_path, f"echo $$ > {tmp_path}/pid; {script}"))
    began = time.monotonic()

    with pytest.raises(KubeError, match=r"plugin.*did not end within 0\.5 s.*the browser"):
        kube.version()

    assert time.monotonic() - began < 15
    group = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        while True:
            os.killpg(group, 0)  # until init has reaped its children
            assert time.monotonic() - began < 30


def test_a_plugin_has_neither_input_nor_terminal(api: FakeApi, tmp_path: Path) -> None:
    script = f"""
        if read line; then exit 7; fi
        if (: < /dev/tty) 2> /dev/null; then exit 8; fi
        printf '%s' '{credential(token="quiet")}'
    """

    client_of(api.url, tmp_path, plugin(tmp_path, script)).list("Pod")

    assert tokens(api) == ["Bearer quiet"]


def test_a_plugin_that_demands_a_terminal_is_refused(api: FakeApi, tmp_path: Path) -> None:
    user = plugin(tmp_path, f"touch {tmp_path}/ran", interactiveMode="Always")

    with pytest.raises(KubeError, match="demands a terminal") as refused:
        client_of(api.url, tmp_path, user).version()

    assert "log in" in refused.value.advice
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'token is expired, run: login' >&2; exit 3", "exit code 3; stderr: .*run: login"),
        ("echo SECRET-token", "printed no JSON"),
        ("echo '[\"SECRET\"]'", "printed no ExecCredential"),
        ('echo \'{"kind": "ExecCredential", "status": "SECRET"}\'', "printed no ExecCredential"),
        (f"echo '{credential()}'", "neither a token nor a certificate"),
        (f"echo '{credential(clientCertificateData='SECRET')}'", "neither a token nor a cert"),
        (f"echo '{credential(token='SECRET').replace('/v1', '/v9')}'", "speaks .*v9, and the"),
        (f"echo '{credential(token='SECRET', expirationTimestamp='soon')}'", "is not a date"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_told_and_its_output_never(
    api: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture, script: str, told: str
) -> None:
    caplog.set_level(logging.DEBUG)

    with pytest.raises(KubeError, match=told) as refused:
        client_of(api.url, tmp_path, plugin(tmp_path, script)).version()

    assert "SECRET" not in str(refused.value) + caplog.text
    assert api.seen == []


def test_what_a_plugin_says_besides_is_kept_from_the_log(
    api: FakeApi,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    script = f"echo chatter >&2; echo '{credential(token='t')}'"

    client_of(api.url, tmp_path, plugin(tmp_path, script)).list("Pod")

    assert "chatter" not in caplog.text + "".join(capfd.readouterr())


def test_a_plugin_that_is_not_there_is_named_with_its_hint(api: FakeApi, tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": V1, "command": "no-such", "installHint": "Install\n no-such."}}

    with pytest.raises(KubeError, match='plugin "no-such" cannot be started: No such') as refused:
        client_of(api.url, tmp_path, user).version()

    assert refused.value.advice == "Install no-such."


def test_a_plugin_is_told_of_the_cluster_where_it_asks_for_it(
    api: FakeApi, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text(authority.certificate)
    script = f"""printf '%s' "$KUBERNETES_EXEC_INFO" > {tmp_path}/info
        [ "$PROFILE" = prod ] && [ "$1" = token ] && echo '{credential(token="t")}'"""
    user = plugin(
        tmp_path,
        script,
        args=["token"],
        env=[{"name": "PROFILE", "value": "prod"}],
        provideClusterInfo=True,
    )
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    cluster = {"certificate-authority": "ca.pem", "extensions": [extension]}

    client_of(api.url, tmp_path, user, cluster).list("Pod")

    info = json.loads((tmp_path / "info").read_text())
    assert info["spec"]["interactive"] is False
    assert info["spec"]["cluster"] == {
        "server": api.url,
        "certificate-authority-data": encoded(authority.certificate),
        "config": {"audience": "x"},
    }


@pytest.mark.parametrize("use", USES)
def test_a_plugins_token_that_is_refused_is_asked_for_again(
    api: FakeApi, tmp_path: Path, use: str
) -> None:
    script = f"""echo >> {tmp_path}/asked
        echo '{credential(token="TOKEN")}' | sed "s/TOKEN/token$(wc -l < {tmp_path}/asked)/" """
    api.answer = only("token2")

    with pytest.raises(KubeError, match="welcome"):
        USES[use](client_of(api.url, tmp_path, plugin(tmp_path, script)))

    assert tokens(api) == ["Bearer token1", "Bearer token2"]


def test_a_plugin_is_asked_again_shortly_before_its_token_expires(
    api: FakeApi, tmp_path: Path
) -> None:
    def script(seconds: float) -> str:
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
        status = credential(token="t", expirationTimestamp=expires.isoformat())
        return f"echo >> {tmp_path}/asked; echo '{status}'"

    kube = client_of(api.url, tmp_path, plugin(tmp_path, script(1.5)))
    kube.list("Pod")
    kube.list("Pod")
    assert (tmp_path / "asked").read_text() == "\n"

    plugin(tmp_path, script(3600))
    time.sleep(1.3)
    kube.list("Pod")
    kube.list("Pod")
    assert (tmp_path / "asked").read_text() == "\n\n"


def test_a_plugin_that_fails_before_the_token_expires_is_no_failure_yet(
    api: FakeApi, tmp_path: Path
) -> None:
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
    status = credential(token="t", expirationTimestamp=expires.isoformat())
    kube = client_of(api.url, tmp_path, plugin(tmp_path, f"echo '{status}'"))
    kube.list("Pod")
    plugin(tmp_path, "exit 1")

    time.sleep(1.7)
    kube.list("Pod")
    time.sleep(0.5)
    with pytest.raises(KubeError, match="exit code 1"):
        kube.list("Pod")


# certificates and keys


class Guarded:
    """An API server with TLS that notes the serial numbers of its clients' certificates."""

    def __init__(self, api: FakeApi) -> None:
        self.api, self.clients = api, list[str]()
        api.answer = self

    def __call__(self, handler: Handler) -> None:
        certificate: Any = handler.connection.getpeercert()
        subject = {key: value for ((key, value),) in certificate["subject"]} if certificate else {}
        self.clients.append(subject.get("commonName", ""))
        handler.reply(418, {"kind": "Status", "message": "reached"})


@pytest.fixture
def guarded(authority: Authority, tmp_path: Path) -> Iterator[Guarded]:
    with fake_api(server_tls(authority, tmp_path, NAME)) as running:
        yield Guarded(running)


def client_certificate(authority: Authority, name: str) -> Leaf:
    return make_leaf(authority, common_name=name)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("how", ["data", "files"])
def test_certificates_keys_and_names_as_data_and_as_files(
    guarded: Guarded, authority: Authority, tmp_path: Path, use: str, how: str
) -> None:
    leaf = client_certificate(authority, "jane")
    if how == "data":
        user = {
            "client-certificate-data": encoded(leaf.certificate),
            "client-key-data": encoded(leaf.key),
        }
        cluster = {"certificate-authority-data": encoded(authority.certificate)}
    else:
        for name, text in (("c", leaf.certificate), ("k", leaf.key), ("a", authority.certificate)):
            (tmp_path / name).write_text(text)
        user = {"client-certificate": "c", "client-key": str(tmp_path / "k")}
        cluster = {"certificate-authority": "a"}

    with pytest.raises(KubeError, match=r"certificate verify failed.*127"):
        USES[use](client_of(guarded.api.url, tmp_path, user, cluster))
    with pytest.raises(KubeError, match="418: reached"):
        USES[use](client_of(guarded.api.url, tmp_path, user, {**cluster, "tls-server-name": NAME}))

    assert guarded.clients == ["jane"]


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("use", USES)
def test_a_server_that_need_not_be_verified(guarded: Guarded, tmp_path: Path, use: str) -> None:
    kube = client_of(guarded.api.url, tmp_path, cluster={"insecure-skip-tls-verify": True})

    with pytest.raises(KubeError, match="418: reached"):
        USES[use](kube)


@pytest.mark.parametrize("use", USES)
def test_a_plugins_certificate_is_renewed_for_requests_and_streams(
    guarded: Guarded, authority: Authority, tmp_path: Path, use: str
) -> None:
    def given(name: str, seconds: float) -> dict[str, Any]:
        leaf = client_certificate(authority, name)
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
        status = credential(
            clientCertificateData=leaf.certificate,
            clientKeyData=leaf.key,
            expirationTimestamp=expires.isoformat(),
        )
        (tmp_path / "status").write_text(status)
        return plugin(tmp_path, f"cat {tmp_path}/status")

    cluster = {
        "certificate-authority-data": encoded(authority.certificate),
        "tls-server-name": NAME,
    }
    kube = client_of(guarded.api.url, tmp_path, given("first", 1.0), cluster)
    with pytest.raises(KubeError, match="reached"):
        USES[use](kube)
    given("second", 3600)
    time.sleep(1.0)
    with pytest.raises(KubeError, match="reached"):
        USES[use](kube)

    assert guarded.clients == ["first", "second"]


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "kube.close()"])
def test_no_key_is_ever_in_a_file_of_ours(
    guarded: Guarded, authority: Authority, tmp_path: Path, end: str
) -> None:
    leaf, temporary = client_certificate(authority, "jane"), tmp_path / "tmp"
    temporary.mkdir()
    user = {
        "client-certificate-data": encoded(leaf.certificate),
        "client-key-data": encoded(leaf.key),
    }
    cluster = {
        "certificate-authority-data": encoded(authority.certificate),
        "tls-server-name": NAME,
    }
    kube = client_of(guarded.api.url, tmp_path, user, cluster)
    program = f"""import os, sys
from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.kube import Kube
kube = Kube("east", sys.argv[1], "prod")
for use in (kube.version, lambda: kube.exec("a", "b", "c", ["true"])):
    try:
        use()
    except KubeError as error:
        assert "reached" in str(error), error
print(len(os.listdir(os.environ["TMPDIR"])), flush=True)
{end}
"""

    ended = subprocess.run(
        [sys.executable, "-c", program, kube.kubeconfig],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
    )

    assert ended.stdout == "0\n", ended.stderr
    assert ended.returncode in (0, -signal.SIGKILL)
    assert list(temporary.iterdir()) == []
    assert guarded.clients == ["jane", "jane"]


def test_a_key_with_a_password_is_refused_without_asking(
    authority: Authority, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    leaf = client_certificate(authority, "jane")
    key = serialization.load_pem_private_key(leaf.key.encode(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    ).decode()
    user = {
        "client-certificate-data": encoded(leaf.certificate),
        "client-key-data": encoded(locked),
    }

    with pytest.raises(KubeError, match="the client certificate and its key cannot be used"):
        client_of("https://127.0.0.1:1", tmp_path, user).version()


# kubeconfigs that nobody expected


def without(*path: str) -> dict[str, Any]:
    document = kubeconfig("https://127.0.0.1:1")
    place: Any = document
    for step in path[:-1]:
        place = place[int(step)] if step.isdigit() else place[step]
    del place[path[-1]]
    return document


def user_of(user: Any) -> dict[str, Any]:
    document = kubeconfig("https://127.0.0.1:1")
    document["users"][0]["user"] = user
    return document


def cluster_of(**cluster: Any) -> dict[str, Any]:
    return kubeconfig("https://127.0.0.1:1", cluster=cluster)


@pytest.mark.parametrize(
    "document",
    [
        [],
        ["a"],
        "text",
        7,
        {},
        without("clusters"),
        without("contexts"),
        without("users"),
        without("clusters", "0", "name"),
        without("clusters", "0", "cluster"),
        without("clusters", "0", "cluster", "server"),
        without("contexts", "0", "context"),
        without("contexts", "0", "context", "cluster"),
        {**kubeconfig("https://a"), "clusters": "text"},
        {**kubeconfig("https://a"), "users": [7]},
        {**kubeconfig("https://a"), "contexts": {"name": "prod"}},
        kubeconfig("api.example.org"),
        cluster_of(server=7),
        cluster_of(server=["https://a"]),
        cluster_of(**{"certificate-authority-data": "%%%"}),
        cluster_of(**{"certificate-authority-data": encoded("no certificate")}),
        cluster_of(**{"certificate-authority": "/no/such/file"}),
        user_of("text"),
        user_of(["text"]),
        user_of({"client-certificate-data": "%%%", "client-key-data": "%%%"}),
        user_of({"client-certificate-data": "/w=="}),
        user_of({"client-certificate": "/no/such/file"}),
        user_of({"tokenFile": "/no/such/file"}),
        user_of({"auth-provider": {"name": "gcp"}}),
        user_of({"auth-provider": {"name": "gcp", "config": {"cmd-path": "/no/such"}}}),
        user_of({"auth-provider": {"name": "azure"}}),
        user_of({"auth-provider": {"name": "oidc"}}),
        user_of({"auth-provider": {"name": "oidc", "config": {"id-token": "a.b.c"}}}),
        user_of({"auth-provider": "text"}),
        user_of({"exec": "text"}),
        user_of({"exec": {}}),
        user_of({"exec": {"command": "true", "env": ["a"]}}),
        user_of({"exec": {"command": "true", "args": 7}}),
        user_of({"token": "t", "as": "me", "as-user-extra": "text"}),
    ],
    ids=lambda document: json.dumps(document)[:60],
)
@pytest.mark.parametrize("use", ["request", "stream"])
def test_a_kubeconfig_of_any_shape_is_one_clear_error(
    tmp_path: Path, document: object, use: str
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document))

    with pytest.raises(KubeError, match='context "prod" cannot be used') as refused:
        USES[use](Kube("east", str(file), "prod"))

    assert refused.value.advice
    assert refused.value.thing == 'cluster "east"'


def test_a_kubeconfig_nested_beyond_all_sense_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text("[" * 1500)

    with pytest.raises(KubeError, match="cannot be used"):
        Kube("east", str(file), "prod").version()


def test_a_password_in_the_servers_address_is_not_shown(tmp_path: Path) -> None:
    kube = client_of("https://me:secret@127.0.0.1:1", tmp_path)

    with pytest.raises(KubeError, match=r"no answer from https://127\.0\.0\.1:1: ") as refused:
        kube.version()

    assert "secret" not in str(refused.value) + kube.server


def test_an_oidc_token_that_is_valid_is_used(api: FakeApi, tmp_path: Path) -> None:
    def part(document: Mapping[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    token = f"{part({'alg': 'none'})}.{part({'exp': time.time() + 3600})}.c2ln"
    provider = {"name": "oidc", "config": {"id-token": token}}

    client_of(api.url, tmp_path, {"auth-provider": provider}).list("Pod")

    assert tokens(api) == [f"Bearer {token}"]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "answer", [refuses(401), refuses(500, "broken"), closes], ids=["401", "500", "closed"]
)
def test_local_variables_that_are_shown_with_an_error_have_no_credentials(
    api: FakeApi, tmp_path: Path, use: str, answer: Callable[[Handler], None]
) -> None:
    (tmp_path / "kubeconfig").write_text(
        json.dumps(kubeconfig(api.url, {"token": "opaque" + "-secret", "as": "jane"}))
    )
    api.answer = answer

    with pytest.raises(KubeError) as failed:
        USES[use](Kube("east", str(tmp_path / "kubeconfig"), "prod"))

    shown = traceback.TracebackException.from_exception(failed.value, capture_locals=True)
    assert "opaque-secret" not in "".join(shown.format())
    assert tokens(api)[0] == "Bearer opaque-secret"


def test_local_variables_of_a_kubeconfig_in_error_have_no_credentials(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(
        json.dumps(
            user_of({"token": "opaque" + "-secret", "client-key-data": "opaque" + "-secret"})
        )
    )

    with pytest.raises(KubeError) as failed:
        Kube("east", str(tmp_path / "kubeconfig"), "prod").version()

    shown = traceback.TracebackException.from_exception(failed.value, capture_locals=True)
    assert "opaque-secret" not in "".join(shown.format())


def test_closing_lets_go_and_a_later_request_begins_anew(api: FakeApi, tmp_path: Path) -> None:
    api.answer = lambda handler: handler.reply(200, EMPTY)
    kube = client_of(api.url, tmp_path, {"token": "one"})
    kube.list("Pod")
    kube.close()
    client_of(api.url, tmp_path, {"token": "two"})
    kube.list("Pod")

    assert tokens(api) == ["Bearer one", "Bearer two"]

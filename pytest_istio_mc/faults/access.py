"""Remote access lost: remote secrets removed and renewed, tokens revoked."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import MeshError
from ..eventually import eventually
from .istiods import replicas, sync_status
from .scene import Scene
from .undo import Manifest, RenewToken, Restore, as_it_was

if TYPE_CHECKING:
    from ..kube import Kube

LABEL = "istio/multiCluster=true"
_TOKEN_TYPE = "kubernetes.io/service-account-token"  # noqa: S105 - the name of a type
_TOKEN_SECONDS = 30.0


@dataclass(frozen=True)
class Held:
    """A remote secret for a cluster: where it is held, and for which control plane."""

    control_plane: str
    holder: str
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The Secret's name."""
        return str(self.manifest["metadata"]["name"])


def held_for(scene: Scene, target: str) -> tuple[Held, ...]:
    """The remote secrets with which control planes elsewhere reach a cluster; :class:`MeshError` where there is none."""
    spec = scene.mesh.spec
    found = []
    for plane in spec.control_planes:
        if spec.cluster(target) in spec.watched_by(plane):
            holder = spec.config_cluster(plane).name
            secrets = scene.kubes[holder].list("Secret", spec.istio_namespace, labels=LABEL)
            found += [
                Held(plane.name, holder, as_it_was(secret))
                for secret in secrets
                if target in (secret.get("data") or {})
            ]
    if not found:
        raise MeshError(
            f'cluster "{target}"', "no control plane elsewhere holds a remote secret for it"
        )
    return tuple(found)


@contextmanager
def remote_secret_removed(scene: Scene, target: str) -> Iterator[tuple[Held, ...]]:
    """All remote secrets for a cluster are gone; at the end they are back, and every control plane has synchronised it again."""
    held = held_for(scene, target)
    with (
        scene.healed(f'remote access to cluster "{target}"', lambda: prove(scene, target, held)),
        scene.undone([Restore(entry.holder, _with_kind(entry.manifest)) for entry in held]),
    ):
        for entry in held:
            scene.kubes[entry.holder].delete("Secret", entry.name, scene.mesh.spec.istio_namespace)
        yield held


@contextmanager
def token_revoked(scene: Scene, target: str) -> Iterator[tuple[Held, ...]]:
    """The token with which control planes elsewhere read a cluster is not accepted any more; at the end they hold a new one.

    :class:`MeshError` where the token does not come from a Secret, as those that ``istioctl create-remote-secret`` makes do.
    """
    held = held_for(scene, target)
    token = token_secret(scene, target, held)
    holders = tuple((entry.holder, _with_kind(entry.manifest)) for entry in held)
    with (
        scene.healed(f'remote access to cluster "{target}"', lambda: prove(scene, target, held)),
        scene.undone([RenewToken(target, _with_kind(token), holders)]),
    ):
        scene.kubes[target].delete(
            "Secret", token["metadata"]["name"], token["metadata"]["namespace"]
        )
        yield held


def rotate(scene: Scene, target: str) -> tuple[Held, ...]:
    """Give all holders of remote secrets for a cluster a new token, and revoke the old one once every control plane uses the new one."""
    held = held_for(scene, target)
    old = token_secret(scene, target, held)
    name = f"{old['metadata']['name']}-{scene.mesh.run_id}"
    fresh = {**_with_kind(old), "metadata": {**old["metadata"], "name": name}}
    holders = tuple((entry.holder, _with_kind(entry.manifest)) for entry in held)
    renew_token(scene.kubes, target, fresh, holders)
    prove(scene, target, held)
    return held


def renew_token(
    kubes: Mapping[str, Kube],
    cluster: str,
    secret: Manifest,
    holders: Sequence[tuple[str, Manifest]],
) -> None:
    """Make a service account's token Secret anew, and write the token that Kubernetes puts into it into the holders' remote secrets."""
    bare = {key: value for key, value in secret.items() if key != "data"}
    name, namespace = secret["metadata"]["name"], secret["metadata"]["namespace"]
    kubes[cluster].apply(bare)

    def token() -> str:
        found = kubes[cluster].read("Secret", name, namespace) or {}
        return _text((found.get("data") or {}).get("token", ""))

    fresh = eventually(
        token,
        bool,
        within_seconds=_TOKEN_SECONDS,
        what=f'cluster "{cluster}": a token in Secret {namespace}/{name}',
    )
    for holder, manifest in holders:
        kubes[holder].apply(
            {
                **manifest,
                "data": {
                    key: _with_token(value, fresh.value) for key, value in manifest["data"].items()
                },
            }
        )


def token_secret(scene: Scene, target: str, held: Sequence[Held]) -> dict[str, Any]:
    """The Secret in a cluster that the token in the remote secrets for it comes from."""
    used = {
        token
        for entry in held
        for value in entry.manifest["data"].values()
        for token in _tokens(value)
    }
    for secret in scene.kubes[target].list("Secret", fields=f"type={_TOKEN_TYPE}"):
        if _text((secret.get("data") or {}).get("token", "")) in used:
            return as_it_was(secret)
    raise MeshError(
        f'cluster "{target}"',
        "the token in its remote secrets comes from no Secret there",
        "a token of another kind cannot be revoked",
    )


def prove(scene: Scene, target: str, held: Sequence[Held]) -> None:
    """Every replica of every control plane that holds a secret for the cluster says that it is synchronised."""
    for plane in dict.fromkeys(entry.control_plane for entry in held):

        def synced(plane: str = plane) -> bool:
            found = replicas(scene, plane)
            return bool(found) and all(
                sync_status(scene, plane, pod, target) == "synced" for pod in found
            )

        scene.until(
            f'istiod in cluster "{plane}" says that cluster "{target}" is synchronised', synced
        )


def _tokens(value: str) -> Iterator[str]:
    import yaml

    document = yaml.safe_load(_text(value)) or {}
    for user in document.get("users") or ():
        if token := (user.get("user") or {}).get("token"):
            yield str(token)


def _with_token(value: str, token: str) -> str:
    import yaml

    document = yaml.safe_load(_text(value)) or {}
    for user in document.get("users") or ():
        if "token" in (user.get("user") or {}):
            user["user"]["token"] = token
    return base64.b64encode(yaml.safe_dump(document, sort_keys=False).encode()).decode()


def _with_kind(manifest: Manifest) -> dict[str, Any]:
    """Lists leave out what their items are."""
    return {"apiVersion": "v1", "kind": "Secret", **manifest}


def _text(value: str) -> str:
    return base64.b64decode(value).decode("utf-8", "replace")

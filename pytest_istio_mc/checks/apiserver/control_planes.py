"""Judges of control planes while a cluster is lost: they start, and they tell."""

from __future__ import annotations

from collections.abc import Iterator

from ... import shell
from ...errors import ObservationError
from ...istio_names import REMOTE_SECRETS
from ...verdicts import Finding, Verdict, not_applicable
from ..judging import Found, pair_names, verdict_from
from ..remedies import Commands
from ..site import Here
from .facts import STARTING_SECONDS, How, Loss, Restart
from .header import NOBODY, STOPPING, apiserver
from .losses import judged_loss, loss_in_words, traffic_in_words, untouched, with_time_line
from .observe import hung, refused

PILOT_DISCOVERY = "https://istio.io/latest/docs/reference/commands/pilot-discovery/"
MONITORING = "https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/"


@apiserver(
    "MC-APISERVER-004",
    "An istiod that starts while another cluster's API server is lost becomes ready without it, "
    "within PILOT_REMOTE_CLUSTER_TIMEOUT.",
    spec_url=PILOT_DISCOVERY,
    sees=hung,
    needs=STOPPING,
)
def restarted_control_plane(here: Here, loss: Loss | None) -> Verdict:
    """The new istiod does not claim to be in sync, and no request fails meanwhile."""
    if loss is None:
        return not_applicable(NOBODY)
    restart = loss.restart
    if restart is None:
        raise ObservationError("a control plane", "restarted during the loss", "it was not")
    found = [*_started(here, loss.lost, restart), *untouched(here, loss, go_on=False)]
    last = restart.last_answer_seconds
    drained = f"; {loss.lost} last answered its proxies {last:.1f} s after it" if last else ""
    passed = (
        f"{loss_in_words(loss)}: istiod of {restart.plane} was ready "
        f"{restart.ready_seconds or 0:.1f} s after the restart "
        f"(timeout {restart.timeout_seconds:g} s) and says {restart.status or 'nothing'} "
        f"of {loss.lost}{drained}; {traffic_in_words(loss)}"
    )
    what = f"istiod of {restart.plane} ready without {loss.lost}"
    return judged_loss(here, loss, found, passed).with_convergence(what, restart.ready_seconds)


def _started(here: Here, lost: str, restart: Restart) -> Iterator[Found]:
    commands, ready = Commands(here.snapshot), restart.ready_seconds
    allowed = restart.timeout_seconds + STARTING_SECONDS
    if ready is None or ready > allowed:
        took = "never" if ready is None else f"only {ready:.1f} s after the old one ended"
        yield Finding(
            f"istiod of {restart.plane}, restarted while {lost} was lost, became ready {took}",
            clusters=(restart.plane, lost),
            expected=f"ready within {allowed:g} s: PILOT_REMOTE_CLUSTER_TIMEOUT is "
            f"{restart.timeout_seconds:g} s, plus its start",
            seen="not ready" if ready is None else f"{ready:.1f} s",
            remedy=commands.istio(restart.plane, "logs deployment/istiod --tail=50"),
            fault="istiod-blocked-by-lost-cluster",
        )
    elif restart.status == "synced":
        yield Finding(
            f"istiod of {restart.plane} claims to be in sync with {lost}, "
            "which it has never reached",
            clusters=(restart.plane, lost),
            expected="a status other than synced (timeout, syncing)",
            seen=restart.status,
            remedy=commands.istio(restart.plane, "get secrets -l", REMOTE_SECRETS),
            fault="status-claims-synced",
        )


@apiserver(
    "MC-APISERVER-005",
    "That a cluster's API server is lost can be told from a status, a metric or a log of the "
    "control planes elsewhere.",
    spec_url=MONITORING,
    sees=(refused, hung),
    explained_by=("MC-ACCESS-001", "MC-ACCESS-006", "MC-APISERVER-004"),
    needs=STOPPING,
)
def visible(here: Here, gone: Loss | None, hanging: Loss | None) -> Verdict:
    """The verdict says which of them tell, after how long, and which do not.

    What counts is what can be read while the API server is lost: not in that cluster.
    """
    if gone is None or hanging is None:
        return not_applicable(NOBODY)
    found: list[Found] = []
    told = [sign for loss in (gone, hanging) for sign in loss.signs if not sign.lost_cluster]
    status = hanging.restart.status if hanging.restart else ""
    if not told and status in ("", "synced"):
        look = Commands(here.snapshot).istioctl(gone.planes[0], "remote-clusters")
        found.append(
            Finding(
                "nothing that the control planes elsewhere say tells "
                f"that the API server of {gone.lost} is lost",
                clusters=(*gone.planes, gone.lost),
                expected="a status other than synced, a metric that moves, or a line in a log",
                seen=f"{'; '.join((*gone.statuses, *hanging.statuses))}; nothing in metrics "
                f"and logs in {gone.seconds:.0f} and {hanging.seconds:.0f} s",
                remedy=shell.with_note(look, "and probe the API server"),
                fault="loss-is-silent",
            )
        )
    passed = f"{_told(gone)}. {_told(hanging)}"
    return with_time_line(verdict_from(found, passed, pairs=pair_names(here.mesh)), gone)


def _told(loss: Loss) -> str:
    """What the control planes said of a loss, in words."""
    elsewhere = [sign for sign in loss.signs if not sign.lost_cluster]
    own = [sign for sign in loss.signs if sign.lost_cluster]
    parts = [
        f"{sign.kind} of {sign.istiod} after {sign.after_seconds:.0f} s: {sign.text[:120]}"
        for sign in elsewhere[:3]
    ]
    if not elsewhere:
        statuses = "; ".join(loss.statuses) or "no status known"
        parts.append(f"no status, metric or log elsewhere in {loss.seconds:.0f} s ({statuses})")
    if restart := loss.restart:
        metrics = f", {restart.metrics[0]}" if restart.metrics else ""
        says = f"{restart.status or 'nothing'}{metrics}"
        parts.append(f"istiod of {restart.plane}, restarted meanwhile, says {says}")
    if own:
        logged = f"after {own[0].after_seconds:.0f} s: {own[0].text[:90]}"
        parts.append(f"only {loss.lost}'s own istiod logs it, {logged}")
    how = "refused" if loss.how is How.REFUSED else "hung"
    return f"{loss.lost} {how}: {'; '.join(parts)}"

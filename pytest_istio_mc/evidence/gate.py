"""The gate's result: what a change cost, and what became worse by it.

A versioned document beside the two certificates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..checks.upgrade.facts import Commanded, Watched
from ..counted import LATE_SECONDS, TIMEOUT_SECONDS, Count, Fate, Lost
from ..redact import scrub
from ..spec import API_VERSION
from ..statistics import CONFIDENCE, most_likely_share
from ..verdicts import Outcome, Verdict
from .compare import Change, Difference
from .report import GATE_KIND, Result

MOST_LISTED = 1000
"""Lost requests that the document lists one by one; the rest is counted."""


def build_gate(
    watched: Watched,
    verdicts: Mapping[str, Verdict],
    differences: Sequence[Difference],
    *,
    topology: str,
    files: Mapping[str, str],
    problems: Sequence[str] = (),
    version: str,
) -> dict[str, Any]:
    """The result of a change as plain JSON.

    - ``files``: the names of the two certificates, ``before`` and ``after``.
    - ``problems``: why something could not be found out, besides the verdicts.
    """
    wrong = list(_wrong(watched, verdicts, differences))
    unknown = list(_unknown(verdicts, differences, problems))
    result = Result.FAILURE if wrong else Result.INCONCLUSIVE if unknown else Result.SUCCESS
    document = {
        "apiVersion": API_VERSION,
        "kind": GATE_KIND,
        "result": result,
        "reasons": [*wrong, *unknown] or [_passed(watched)],
        "topology": topology,
        "date": _moment(watched.began),
        "tool": {"name": "pytest-istio-mc", "version": version},
        "certificates": dict(files),
        "command": _command(watched.command),
        "bounds": {
            "lateSeconds": LATE_SECONDS,
            "timeoutSeconds": TIMEOUT_SECONDS,
            "confidence": CONFIDENCE,
        },
        "verdicts": [
            {"id": id, "verdict": verdict.outcome.value, "reason": verdict.reason}
            for id, verdict in verdicts.items()
        ],
        "worse": [str(one) for one in differences if one.change in (Change.WORSE, Change.LOST)],
        "better": [str(one) for one in differences if one.change is Change.BETTER],
        "traffic": [_flow(count) for count in watched.counts],
        "lost": _listed(watched.counts),
        "timeLine": _time_line(watched.counts),
        "controlPlane": _control_plane(watched),
    }
    if watched.control is not None:
        document["control"] = {
            "command": _command(watched.control.command),
            "traffic": [_flow(count) for count in watched.control.counts],
        }
    return scrub(document)


def _passed(watched: Watched) -> str:
    lost = "nothing was lost"
    if any(count.losses for count in watched.counts):  # without a control run that is a failure
        lost = "no more was lost than in the control run"
    return f"{lost}, and nothing is worse than before"


def exit_code(result: str) -> int:
    """0 where nothing was lost and nothing is worse, 1 where something, 3 where nobody knows."""
    return {Result.SUCCESS: 0, Result.FAILURE: 1}.get(result, 3)


def _wrong(
    watched: Watched, verdicts: Mapping[str, Verdict], differences: Iterable[Difference]
) -> Iterator[str]:
    """What stops the gate, the command's own failure first."""
    if watched.command.failure:
        yield watched.command.failure
    for id, verdict in verdicts.items():
        if verdict.outcome is Outcome.NON_CONFORMANT:
            yield f"{id}: {verdict.reason}"
    for one in differences:
        if one.change is Change.LOST or (one.change is Change.WORSE and not _is_unknown(one)):
            yield str(one)


def _unknown(
    verdicts: Mapping[str, Verdict], differences: Iterable[Difference], problems: Iterable[str]
) -> Iterator[str]:
    for id, verdict in verdicts.items():
        if verdict.outcome is Outcome.INCONCLUSIVE:
            yield f"{id}: {verdict.reason}"
    for one in differences:
        if one.change is Change.WORSE and _is_unknown(one):
            yield str(one)
    yield from problems


def _is_unknown(one: Difference) -> bool:
    """Whether nobody can say that the change is to blame: not known before, or not now."""
    return Outcome.INCONCLUSIVE.value in (one.before, one.now)


def _command(command: Commanded) -> dict[str, Any]:
    return {
        "text": command.text,
        "began": _moment(command.began),
        "seconds": round(command.ended - command.began, 3),
        "exitCode": command.exit_code,
        "interrupted": command.interrupted,
        "failure": command.failure,
        "phases": [
            {"afterSeconds": round(step.when - command.began, 3), "text": step.text}
            for step in command.steps
        ],
    }


def _flow(count: Count) -> dict[str, Any]:
    fates = {fate: sum(one.fate is fate for one in count.lost) for fate in Fate}
    sent = count.due - count.unsent
    return {
        "from": count.source,
        "to": count.target,
        "way": count.way,
        "retries": "Istio's default" if count.retried else "none",
        "perSecond": round(1 / count.interval_seconds, 3),
        "due": count.due,
        "unsent": count.unsent,
        "answered": count.answered,
        "failed": fates[Fate.FAILED] + fates[Fate.UNKNOWN] + count.unlisted,
        "doneButReportedFailed": fates[Fate.DONE],
        "unknownWhetherDone": fates[Fate.UNKNOWN],
        "late": fates[Fate.LATE],
        "astray": fates[Fate.ASTRAY],
        "cuts": count.cuts,
        "connections": count.connections,
        "longestSilenceSeconds": round(count.longest_silence_seconds, 3),
        "worstSeconds": round(count.worst_seconds, 3),
        "mostLost": round(most_likely_share(sent, count.losses), 6) if sent > 0 else 1.0,
        "missing": count.missing,
    }


def _listed(counts: Iterable[Count]) -> dict[str, Any]:
    every = [(count, one) for count in counts for one in count.lost]
    every.sort(key=lambda entry: entry[1].when)
    unlisted = sum(count.unlisted for count in counts) + max(0, len(every) - MOST_LISTED)
    return {"requests": [_lost(*entry) for entry in every[:MOST_LISTED]], "more": unlisted}


def _lost(count: Count, one: Lost) -> dict[str, Any]:
    return {
        "at": _moment(one.when, exact=True),
        "from": count.source,
        "to": count.target,
        "way": count.way,
        "retries": "Istio's default" if count.retried else "none",
        "fate": one.fate.value,
        "failure": one.failure,
        "seconds": round(one.seconds, 3),
        "testerStoodStill": one.starved,
    }


def _time_line(counts: Sequence[Count]) -> dict[str, Any]:
    """Requests by second and pair: sent in it, and lost of these."""
    pairs: dict[str, dict[int, tuple[int, int]]] = {}
    for count in counts:
        mine = pairs.setdefault(count.pair, {})
        for second, sent, lost in count.seconds:
            before = mine.get(second, (0, 0))
            mine[second] = (before[0] + sent, before[1] + lost)
    began = min((second for mine in pairs.values() for second in mine), default=0)
    return {
        "began": _moment(began),
        "fields": ["second", "sent", "lost"],
        "pairs": {
            pair: [[second - began, *mine[second]] for second in sorted(mine)]
            for pair, mine in pairs.items()
        },
    }


def _control_plane(watched: Watched) -> dict[str, Any]:
    began = watched.command.began
    accepted = {}
    for cluster in dict.fromkeys(look.cluster for look in watched.admissions):
        after = [
            look.when - began
            for look in watched.admissions
            if look.cluster == cluster and look.accepted and look.when >= began
        ]
        accepted[cluster] = round(min(after), 3) if after else None
    return {
        "firstAcceptedInjectionSeconds": accepted,
        "istiods": [
            {
                "cluster": look.cluster,
                "pod": look.pod,
                "at": _moment(look.when),
                "ready": look.ready,
                "restarts": look.restarts,
                "endedWith": look.ended_with,
            }
            for look in watched.pods
        ],
        "roots": {
            "before": sorted({root for look in watched.proxies_before for root in look.roots}),
            "after": sorted({root for look in watched.proxies_after for root in look.roots}),
        },
        "unread": [
            {"what": one.what, "times": one.times, "why": one.why} for one in watched.unread
        ],
    }


def _moment(when: float, *, exact: bool = False) -> str:
    moment = datetime.fromtimestamp(when, UTC)
    text = moment.isoformat(timespec="milliseconds" if exact else "seconds")
    return text.replace("+00:00", "Z")


def lines(document: Mapping[str, Any], where: str) -> list[str]:
    """The gate's result for a terminal."""
    command = document["command"]
    shown = [f"gate        {document['result'].upper()}: {document['reasons'][0]}"]
    shown += [f"            {reason}" for reason in document["reasons"][1:]]
    shown.append(f"command     {command['seconds']:.1f} s, exit code {command['exitCode']}")
    phases = (f"{one['text']} {one['afterSeconds']:.1f} s" for one in command["phases"])
    told = ", ".join(phases)
    shown += [f"phases      {told}"] if told else []
    for entry in document["verdicts"]:
        shown.append(f"{entry['id']}  {entry['verdict']}: {entry['reason']}")
    shown += [f"better      {one}" for one in document["better"]]
    named = document["certificates"]
    shown.append(f"before      {named['before']}")
    shown.append(f"after       {named['after']}")
    shown.append(f"result      {where or 'could not be written'}")
    return shown

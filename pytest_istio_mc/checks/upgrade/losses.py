"""Lost requests in judgement and in words: by pair of clusters, beyond those of the control."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from ... import shell
from ...counted import Count, Fate, Lost
from ...statistics import most_expected, most_likely_share
from ...verdicts import Finding
from ..judging import Found, Gap
from ..remedies import Commands
from ..site import Here
from .facts import UNSENT_SHARE, Watched

Wanted = Callable[[Count], bool]
_MOST_WAYS = 3


def losses(here: Here, seen: Watched, wanted: Wanted) -> Iterator[Found]:
    """What was lost of the wanted flows, and what of them is not known."""
    counts = [count for count in seen.counts if wanted(count)]
    if seen.command.problem:
        yield Gap(seen.command.failure)
        return
    if not counts:
        yield Gap("nothing was counted")
    for pair in dict.fromkeys(count.pair for count in counts):
        yield from _of_pair(here, seen, [one for one in counts if one.pair == pair], pair, wanted)


def _of_pair(
    here: Here, seen: Watched, counts: Sequence[Count], pair: str, wanted: Wanted
) -> Iterator[Found]:
    if pair in seen.unready:
        yield Gap(f"{pair}: no answers before the command, so nothing shows: {seen.unready[pair]}")
        return
    missing = [f"{count.way}: {count.missing}" for count in counts if count.missing]
    if missing:
        yield Gap(f"{pair}: what was counted is not complete: {missing[0]}")
    lost = sorted((one for count in counts for one in count.lost), key=lambda one: one.when)
    early = [one for one in lost if one.when < seen.command.began and not one.starved]
    if early:
        what = _in_words(early)
        yield Gap(f"{pair}: {len(early)} requests were lost before the command began ({what})")
        return
    yield from _tester(counts, lost, pair)
    counted = [one for one in lost if not one.starved]
    unlisted = sum(count.unlisted for count in counts)
    number, due = len(counted) + unlisted, sum(count.due for count in counts)
    allowed = _allowed(seen, pair, due, wanted)
    if number <= allowed:
        return
    source, target = counts[0].source, counts[0].target
    beyond = f", {allowed} of which the control run explains" if allowed else ""
    expected = "none" if not allowed else f"at most {allowed}, as in the control run (95 %)"
    proxies = Commands(here.snapshot).istioctl(source, "proxy-status")
    yield Finding(
        f"{number} of {due} {_noun(counts)} from {pair} were lost{_when(seen, counted)}{beyond}",
        clusters=tuple(dict.fromkeys((source, target))),
        expected=f"{expected} of {due} lost",
        seen=_in_words(counted) + (f"; and {unlisted} more" if unlisted else ""),
        remedy=shell.with_note(
            proxies, "then repeat the change where nobody depends on it, with a second replica"
        ),
        fault="lost-while-changed",
    )


def _tester(counts: Sequence[Count], lost: Sequence[Lost], pair: str) -> Iterator[Gap]:
    """What the tester itself is to blame for: never the mesh's fault, and never green."""
    due, unsent = sum(count.due for count in counts), sum(count.unsent for count in counts)
    late = max((count.latest_seconds for count in counts), default=0.0)
    if unsent > UNSENT_SHARE * due:
        yield Gap(
            f"{pair}: the tester did not keep its rate: it sent {due - unsent} of {due} requests "
            f"that were due, and was up to {late:.1f} s late"
        )
    starved = sum(one.starved for one in lost)
    if starved:
        yield Gap(
            f"{pair}: {starved} requests were lost while the tester itself stood still "
            f"(up to {late:.1f} s)"
        )


def _allowed(seen: Watched, pair: str, due: int, wanted: Wanted) -> int:
    """The most losses of a pair that are no more than those of the control run."""
    if seen.control is None:
        return 0
    same = [one for one in seen.control.counts if wanted(one) and one.pair == pair]
    lost = sum(count.unlisted for count in same)
    lost += sum(not one.starved for count in same for one in count.lost)
    return most_expected(due, sum(count.due for count in same), lost)


def told(seen: Watched, wanted: Wanted) -> str:
    """What was counted, in one sentence with the bound."""
    counts = [count for count in seen.counts if wanted(count)]
    due, lost = sum(count.due for count in counts), sum(count.losses for count in counts)
    sent = due - sum(count.unsent for count in counts)
    if not sent:
        return "nothing was counted"
    bound = most_likely_share(sent, lost)
    silence = max(count.longest_silence_seconds for count in counts)
    pairs = len({count.pair for count in counts})
    within = ", within each mesh only" if seen.apart else ""
    control = f"{lost} lost, no more than in the control run" if lost else "none lost"
    return (
        f"{sent} of {due} {_noun(counts)} that were due between {pairs} pairs of clusters{within}: "
        f"{control}, so no more than {100 * bound:.2g} % are, with 95 % confidence; "
        f"longest time without an answer {silence:.1f} s"
    )


def _noun(counts: Iterable[Count]) -> str:
    return "lines of streams" if all(count.stream for count in counts) else "requests"


def _when(seen: Watched, lost: Sequence[Lost]) -> str:
    if not lost:
        return ""
    first, last = lost[0], max(one.when + one.seconds for one in lost)
    after = first.when - seen.command.began
    begun = [step for step in seen.command.steps if step.when <= first.when]
    phase = f', in phase "{begun[-1].text}"' if begun else ""
    return (
        f" from {clock(first.when)} on for {last - first.when:.1f} s "
        f"({after:.1f} s into the command{phase})"
    )


def clock(when: float) -> str:
    """The time of day, UTC, to a tenth of a second."""
    moment = datetime.fromtimestamp(when, UTC)
    return f"{moment:%H:%M:%S}.{moment.microsecond // 100000}Z"


def _in_words(lost: Sequence[Lost]) -> str:
    ways = Counter(one.failure for one in lost).most_common(_MOST_WAYS)
    fates = Counter(one.fate for one in lost)
    words = [f"{count}× {failure}" for failure, count in ways]
    more = len(lost) - sum(count for _, count in ways)
    words += [f"{more}× something else"] if more else []
    words += [
        f"{fates[fate]} of them {text}"
        for fate, text in (
            (Fate.DONE, "were carried out all the same"),
            (Fate.UNKNOWN, "may have been carried out: the server's record is gone"),
        )
        if fates[fate]
    ]
    return "; ".join(words)

"""Retries: which requests are sent again, after what pause, and how often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from .failures import Failure

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

TRIES = 4
LONGEST_PAUSE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.1

APPLY_PATCH = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"


class Repeatable(Enum):
    """When a request may be sent a second time."""

    ALWAYS = "doing it twice is doing it once"
    UNHEARD = "only where the API server certainly did nothing yet"
    NEVER = "a second time may do a second thing"


def repeatable(method: str, content_type: str, query: Mapping[str, str], body: Any) -> Repeatable:
    """When this request may be sent a second time.

    - A merge patch that names the version which it changes is refused the second time (409).
    - One that does not could undo what another client has written in between.
    """
    if method in ("GET", "HEAD", "DELETE") or query.get("dryRun") == "All":
        return Repeatable.ALWAYS
    if method != "PATCH":
        return Repeatable.NEVER
    if content_type == APPLY_PATCH:
        return Repeatable.ALWAYS
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    if content_type == MERGE_PATCH and (metadata or {}).get("resourceVersion"):
        return Repeatable.ALWAYS
    return Repeatable.UNHEARD


def patiently(
    attempt: Callable[[float], T],
    when: Repeatable,
    within_seconds: float,
    interrupted: threading.Event,
) -> T:
    """What ``attempt`` returns; it is given the seconds that are left.

    - All tries and pauses together take no longer than ``within_seconds``.
    - A pause ends early with ``interrupted``.
    - A :class:`Failure` that was tried repeatedly says so.
    """
    from tenacity import Retrying, retry_if_exception, sleep_using_event, stop_after_attempt

    began = time.monotonic()

    def may_repeat(error: BaseException) -> bool:
        if not isinstance(error, Failure) or not error.may_pass:
            return False
        return when is Repeatable.ALWAYS or (when is Repeatable.UNHEARD and error.unheard)

    enough_tries = stop_after_attempt(TRIES)

    def enough(state: RetryCallState) -> bool:
        after_pause = time.monotonic() - began + state.upcoming_sleep
        return enough_tries(state) or after_pause >= within_seconds

    retrying = Retrying(
        retry=retry_if_exception(may_repeat),
        stop=enough,
        wait=_pause,
        sleep=sleep_using_event(interrupted),
        reraise=True,
    )
    tries = 0

    def one_try() -> T:
        nonlocal tries
        tries += 1
        gone = time.monotonic() - began if tries > 1 else 0.0
        return attempt(max(0.001, within_seconds - gone))

    try:
        return retrying(one_try)
    except Failure as failure:
        if tries > 1:
            failure.detail += f"; tried {tries} times in {time.monotonic() - began:.1f} s"
        raise


def _pause(state: RetryCallState) -> float:
    """The pause before the next try: twice the last one, at random up to half more.

    What the API server asks for is heeded, and spread as well: others were told the same.
    """
    from tenacity import wait_exponential, wait_random

    pause = wait_exponential(multiplier=_FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS)(state)
    error = state.outcome.exception() if state.outcome else None
    asked = error.after_seconds if isinstance(error, Failure) else 0.0
    base = max(pause, min(asked, LONGEST_PAUSE_SECONDS))
    return base + wait_random(0, max(pause, 0.1 * base) / 2)(state)

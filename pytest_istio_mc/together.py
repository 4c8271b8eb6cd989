"""Doing one thing to several clusters at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    do: Callable[[Item], Result], items: Mapping[str, Item] | Iterable[tuple[str, Item]]
) -> dict[str, Result]:
    """``do`` for each item at once; the results under the items' names.

    The first exception is raised as soon as it happens: what goes on for other items then ends by itself, unheard.
    """
    named = list(items.items() if isinstance(items, Mapping) else items)
    pool = ThreadPoolExecutor(max(1, len(named)), thread_name_prefix="side by side")
    try:
        running = {name: pool.submit(do, item) for name, item in named}
        done, _ = wait(running.values(), return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return {name: future.result() for name, future in running.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def for_each(work: Callable[[str], Result], clusters: Iterable[str]) -> list[Result]:
    """The work for every cluster at the same time; results in order. The first failure is raised once all have ended."""
    names = list(clusters)
    with ThreadPoolExecutor(max_workers=max(1, len(names)), thread_name_prefix="probes") as pool:
        return list(pool.map(work, names))

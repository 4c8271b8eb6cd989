"""Doing one thing to several clusters or objects at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    do: Callable[[Item], Result], items: Mapping[str, Item] | Iterable[tuple[str, Item]]
) -> dict[str, Result]:
    """``do`` for each item at once; the results under the items' names.

    The first exception is raised as soon as it happens: work for other items then ends by itself,
    unheard.
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


def for_each(
    work: Callable[[Item], Result], items: Iterable[Item], at_once: int | None = None
) -> list[Result]:
    """The work for all items, ``at_once`` of them; results in order.

    The first exception is raised once all work under way has ended; what has not begun is dropped.
    """
    wanted = list(items)
    with _pool(wanted, at_once) as pool:
        return list(pool.map(work, wanted))


def try_each(
    work: Callable[[Item], Result], items: Iterable[Item], at_once: int | None = None
) -> list[Result]:
    """The same for work that must not be left out, such as removals.

    The first exception is raised once all has been tried.
    """
    wanted = list(items)
    with _pool(wanted, at_once) as pool:
        tried = [pool.submit(work, item) for item in wanted]
        wait(tried)
    return [future.result() for future in tried]


def _pool(items: Sized, at_once: int | None) -> ThreadPoolExecutor:
    width = max(1, min(at_once or len(items), len(items)))
    return ThreadPoolExecutor(width, thread_name_prefix="for each")

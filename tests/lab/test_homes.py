"""The folders of labs: made with their owner, in a place that is nobody else's."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.lab import homes
from pytest_istio_mc.lab.journal import SupervisorLock


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own."""
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_look_at_the_moment_of_making_does_not_leave_a_lab_without_an_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`lab list` asks whether the lock is held, and holds it meanwhile."""
    tries: list[bool] = []
    take = SupervisorLock.take

    def taken_by_somebody_who_looks(lock: SupervisorLock) -> bool:
        tries.append(len(tries) > 2 and take(lock))
        return tries[-1]

    monkeypatch.setattr(SupervisorLock, "take", taken_by_somebody_who_looks)
    home = homes.labs_folder() / "new"

    homes.make(home)

    assert tries == [False, False, False, True]
    seen: list[bool] = []
    looking = threading.Thread(target=lambda: seen.append(homes.is_alive(home)))
    looking.start()
    looking.join()
    assert seen == [True]


def test_a_lab_is_not_made_where_others_can_write(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)

    with pytest.raises(ProvisionError) as caught:
        homes.make(homes.labs_folder() / "new")

    assert f"{cache} can be written to by others" in str(caught.value)
    assert f"chmod go-w {cache}" in caught.value.advice

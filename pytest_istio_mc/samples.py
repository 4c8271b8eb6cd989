"""Samples: requests that configuration led to certain clusters, and who answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from .eventually import Converged
from .observations import Request


@dataclass(frozen=True)
class Sample:
    """Requests that one client sent for one name, and who should have answered them.

    ``case`` says by what they were led (``subset cluster2``). ``expected`` are the clusters that must answer, each of them some;
    where there are none, nobody may. ``role`` is the role that every pod that answers must have; empty where any will do.
    """

    source: str
    case: str
    host: str
    expected: tuple[str, ...]
    requests: tuple[Request, ...] = ()
    role: str = ""

    @property
    def answered(self) -> Mapping[str, int]:
        """How many requests each cluster answered."""
        return Counter(
            request.answer.cluster for request in self.requests if request.answer is not None
        )

    @property
    def failed(self) -> tuple[Request, ...]:
        """The requests that nobody answered, or not well."""
        return tuple(request for request in self.requests if not request.succeeded)

    @property
    def astray(self) -> tuple[Request, ...]:
        """The requests that were answered where they should not have been."""
        return tuple(
            request
            for request in self.requests
            if request.answer is not None
            and (
                request.answer.cluster not in self.expected
                or self.role not in ("", request.answer.role)
            )
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """The clusters that should have answered some, and did not."""
        answered = self.answered
        return tuple(cluster for cluster in self.expected if not answered.get(cluster))

    @property
    def as_expected(self) -> bool:
        """Whether every request was answered by those who should, or by nobody where nobody should."""
        if not self.requests or self.astray:
            return False
        return not self.expected or not (self.failed or self.missing)


@dataclass(frozen=True)
class Stage:
    """One state of a mesh's configuration: what every client got from every name in it, and how long it took to be so everywhere.

    ``first_seconds`` is None where it was not so within the budget; the samples are what was seen then.
    """

    name: str
    samples: tuple[Sample, ...]
    first_seconds: float | None = None

    @property
    def converged(self) -> Converged[None] | None:
        """How long it took, for the certificate's figures."""
        return (
            None
            if self.first_seconds is None
            else Converged(None, self.first_seconds, self.first_seconds)
        )

    def of(self, case: str) -> tuple[Sample, ...]:
        """The samples of one case, one for each client."""
        return tuple(sample for sample in self.samples if sample.case == case)

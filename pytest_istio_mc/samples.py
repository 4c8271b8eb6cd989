"""Samples: requests that configuration led to certain clusters, and who answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from .eventually import Converged
from .observations import Request


@dataclass(frozen=True)
class Sample:
    """Requests of one client for one name, and who should answer.

    - ``case``: the configuration that led them (``subset cluster2``).
    - ``expected``: the clusters that must answer, each of them some; without any, nobody may.
    - ``role``: of every pod that answers; empty where any will do.
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
        answers = (request.answer for request in self.requests)
        return Counter(answer.cluster for answer in answers if answer is not None)

    @property
    def failed(self) -> tuple[Request, ...]:
        """The requests that nobody answered, or not well."""
        return tuple(request for request in self.requests if not request.succeeded)

    @property
    def astray(self) -> tuple[Request, ...]:
        """The requests that the wrong cluster or role answered."""
        return tuple(
            request
            for request in self.requests
            if (answer := request.answer) is not None
            and (answer.cluster not in self.expected or self.role not in ("", answer.role))
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """The clusters that should have answered some, and did not."""
        answered = self.answered
        return tuple(cluster for cluster in self.expected if not answered.get(cluster))

    @property
    def as_expected(self) -> bool:
        """Whether those who should answered every request; or nobody, where nobody should."""
        if not self.requests or self.astray:
            return False
        return not self.expected or not (self.failed or self.missing)


@dataclass(frozen=True)
class Stage:
    """One state of a mesh's configuration, with all samples of it.

    ``first_seconds`` is until it was so everywhere; None where it was not within the budget. The
    samples are of that moment.
    """

    name: str
    samples: tuple[Sample, ...]
    first_seconds: float | None = None

    @property
    def converged(self) -> Converged[None] | None:
        """How long it took, for the certificate's figures."""
        first = self.first_seconds
        return None if first is None else Converged(None, first, first)

    def of(self, case: str) -> tuple[Sample, ...]:
        """The samples of one case, one for each client."""
        return tuple(sample for sample in self.samples if sample.case == case)

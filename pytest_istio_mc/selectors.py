"""Label selectors, as Kubernetes defines them (API concept "Labels and Selectors")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy a selector with ``matchLabels`` and ``matchExpressions``.

    An empty selector matches everything, an operator that nobody knows matches nothing.
    """
    equal = (selector.get("matchLabels") or {}).items() <= labels.items()
    expressions = selector.get("matchExpressions") or ()
    return equal and all(_satisfied(one, labels) for one in expressions)


def matches_any(selectors: Iterable[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    """Whether one of several selectors matches; none at all select everything.

    That is how Istio reads ``discoverySelectors``.
    """
    every = list(selectors)
    return not every or any(matches(one, labels) for one in every)


def _satisfied(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key", ""), expression.get("values") or ()
    answers = {
        "In": key in labels and labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }
    return answers.get(str(expression.get("operator")), False)

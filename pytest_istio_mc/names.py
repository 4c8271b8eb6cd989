"""Names: which texts a field may hold, where Kubernetes or Istio guarantee it.

A form is stated in a dataclass as ``Annotated[str, FORM]``; :mod:`plain` holds it on reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_VALUE = "([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)"


@dataclass(frozen=True)
class Form:
    """A form of names: words for it, the pattern of all of it, its length."""

    words: str
    pattern: str
    longest: int = 253

    def fits(self, text: str) -> bool:
        """Whether a text is of this form."""
        return len(text) <= self.longest and _compiled(self.pattern).fullmatch(text) is not None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """The rule for pydantic, which also publishes it in JSON Schemas."""
        from pydantic_core import core_schema

        return core_schema.str_schema(
            pattern=f"^(?:{self.pattern})$",
            max_length=self.longest,
            metadata={"pydantic_js_updates": {"description": self.words}},
        )


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


DNS_LABEL = Form("a DNS label: lower-case letters, digits and hyphens", _LABEL, 63)
"""Namespaces and Services (RFC 1123 in Kubernetes' words)."""

DNS_SUBDOMAIN = Form("a DNS name: lower-case letters, digits, hyphens and dots", _SUBDOMAIN)
"""Pods, Secrets, ConfigMaps, Nodes, ServiceAccounts, and Istio's kinds."""

PATH_SEGMENT = Form("a name without / and %", r"[^/%\x00-\x1f\x7f-\x9f]+")
"""Roles and bindings, which may be called ``system:anything``."""

QUALIFIED = Form(
    "a label's key: a name, or a DNS name, a slash and a name",
    rf"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?/)?{_VALUE}",
    253 + 1 + 63,
)
"""Keys of labels and annotations; annotations may have capitals before the slash."""

LABEL_VALUE = Form("a label's value: letters, digits, - _ and ., at most 63", f"{_VALUE}?", 63)
"""Labels; so also networks, regions and zones, which Istio reads from labels."""

DATA_KEY = Form("a key of data: letters, digits, - _ and .", "[-._A-Za-z0-9]+")
"""Of Secrets and ConfigMaps; those of remote secrets are cluster ids."""

PORT_NAME = Form("a port's name", f"({_LABEL})?", 63)
"""Of Services and their endpoints."""

TRUST_DOMAIN = Form("a trust domain: letters, digits, - _ and .", r"[A-Za-z0-9._-]+", 255)
"""As SPIFFE has it (SPIFFE-ID, "Trust Domain"); Istio takes capitals, too."""

WORD = Form("a text without white space", r"[^\s\x00-\x1f\x7f-\x9f]*", 253)
"""What Istio passes on as it is: mesh ids."""

ONE_LINE = Form("a text without control characters", r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]*", 4096)
"""kubeconfig contexts, paths, topologies: anything that people can type."""

Label = Annotated[str, DNS_LABEL]
Subdomain = Annotated[str, DNS_SUBDOMAIN]
Key = Annotated[str, QUALIFIED]
Value = Annotated[str, LABEL_VALUE]
DataKey = Annotated[str, DATA_KEY]
PortName = Annotated[str, PORT_NAME]
Line = Annotated[str, ONE_LINE]

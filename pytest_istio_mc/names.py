"""Names: which texts a field may hold, where Kubernetes or Istio guarantee it.

A form is stated in a dataclass as ``Annotated[str, FORM]``; :mod:`plain` holds it on reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from .redact import REDACTED

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_VALUE = "([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)"


@dataclass(frozen=True)
class Form:
    """A form of names: words for it, the whole pattern, the length, what has it."""

    words: str
    pattern: str
    longest: int = 253
    of: str = ""

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


DNS_LABEL = Form(
    "a DNS label: lower-case letters, digits and hyphens",
    _LABEL,
    63,
    "namespaces, Services, clusters of the mesh",
)
DNS_SUBDOMAIN = Form(
    "a DNS name: lower-case letters, digits, hyphens and dots",
    _SUBDOMAIN,
    of="pods, Secrets, ConfigMaps, nodes, accounts, webhooks, objects of Istio and the Gateway API",
)
PATH_SEGMENT = Form(
    "a name without / and %",
    r"[^/%\x00-\x1f\x7f-\x9f]+",
    of="ClusterRoles and their bindings (`system:node`)",
)
QUALIFIED = Form(
    "a label's key: a name, or a DNS name, a slash and a name",
    rf"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?/)?{_VALUE}",
    253 + 1 + 63,
    "keys of labels and annotations",
)
LABEL_VALUE = Form(
    "a label's value: letters, digits, - _ and ., at most 63",
    # and what a snapshot has in the place of a value that looked like a secret
    rf"{_VALUE}?|{re.escape(REDACTED)}",
    63,
    "labels, and what Istio reads from them: networks, regions, zones; runs",
)
DATA_KEY = Form(
    "a key of data: letters, digits, - _ and .",
    "[-._A-Za-z0-9]+",
    of="keys of Secrets; those of remote secrets are cluster ids",
)
PORT_NAME = Form("a port's name", f"({_LABEL})?", 63, "ports of Services")
TRUST_DOMAIN = Form(
    "a trust domain: letters, digits, - _ and .",
    r"[A-Za-z0-9._-]+",
    255,
    "trust domains (SPIFFE; Istio takes capitals, too)",
)
WORD = Form(
    "a text without white space", r"[^\s\x00-\x1f\x7f-\x9f]*", of="mesh ids, which Istio hands on"
)
ONE_LINE = Form(
    "a text without control characters",
    r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]*",
    4096,
    "contexts and paths, topologies, images, addresses of API servers, versions",
)

Label = Annotated[str, DNS_LABEL]
Subdomain = Annotated[str, DNS_SUBDOMAIN]
Key = Annotated[str, QUALIFIED]
Value = Annotated[str, LABEL_VALUE]
DataKey = Annotated[str, DATA_KEY]
PortName = Annotated[str, PORT_NAME]
Line = Annotated[str, ONE_LINE]

"""Forms: the parts of which the shapes of objects are put together."""

from __future__ import annotations

from dataclasses import dataclass
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Required

from typing_extensions import TypedDict

from .names import DNS_SUBDOMAIN, Key, Label, Value

if TYPE_CHECKING:
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """The rule for pydantic."""
        from pydantic_core import core_schema

        return core_schema.int_schema(ge=self.least, le=self.most)


@dataclass(frozen=True)
class Some:
    """A list with one entry or more."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """The rule for pydantic."""
        from pydantic_core import core_schema

        return core_schema.list_schema(core_schema.str_schema(), min_length=1)


def shape(name: str, fields: dict[str, Any], *, extra: str = "allow") -> Any:
    """A mapping with these keys, each optional unless it says ``Required``."""
    shape: type = TypedDict(name, fields, total=False)  # type: ignore[misc]
    setattr(shape, "__pydantic_config__", {"extra": extra, "strict": True})  # noqa: B010
    return shape


def as_list(shape: Any) -> Any:
    """Lists of a shape; type checkers want no variables between brackets."""
    return GenericAlias(list, (shape,))


def as_map(shape: Any) -> Any:
    """Mappings by text to a shape."""
    return GenericAlias(dict, (str, shape))


PORT = Annotated[int, Whole(0, 65535)]
COUNT = Annotated[int, Whole(0, 2**31 - 1)]
LABELS = dict[Key, Value]
TEXTS = dict[str, str]


def named_object(kind: str, fields: dict[str, Any], name: Any = DNS_SUBDOMAIN) -> Any:
    metadata = {
        "name": Required[Annotated[str, name]],
        "namespace": Label,
        "uid": str,
        "labels": LABELS,
        "annotations": dict[Key, str],
    }
    named = shape(f"{kind}Metadata", metadata)
    return shape(kind, {"metadata": Required[named], **fields})


def with_spec(kind: str, fields: dict[str, Any], status: dict[str, Any] | None = None) -> Any:
    parts: dict[str, Any] = {"spec": Required[shape(f"{kind}Spec", fields)]}
    if status is not None:
        parts["status"] = Required[shape(f"{kind}Status", status)]
    return named_object(kind, parts)

"""Base classes and field types of all settings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
)
from pydantic_settings import NoDecode


def split_list(value: object) -> object:
    """Lists may be written with commas, as environment variables and the command line need."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)]


class Section(BaseModel):
    """A section of the configuration: frozen, and closed to unknown keys."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

"""The base class and the field types of settings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import NoDecode


def split_list(value: object) -> object:
    """Split a text at commas, the form of lists in the environment and on the command line."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)]


class Section(BaseModel):
    """A section of the configuration: immutable, and without unknown keys."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

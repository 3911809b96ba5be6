"""The base class and the field types of settings."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import NoDecode


def split_list(value: object) -> object:
    """Split a text at commas, the form of lists in the environment and on the command line."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def has_password(address: str) -> bool:
    """Return True if an address holds a user or a password."""
    return "@" in re.split("[/?#]", address.partition("://")[2])[0]


def _without_password(address: str) -> str:
    # Addresses appear in logs, /health and `volsvc config`.
    if has_password(address):
        raise ValueError("must hold no user and password")
    return address


Address = Annotated[str, AfterValidator(_without_password)]
Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)]


class Section(BaseModel):
    """A section of the configuration: immutable, and without unknown keys."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_odd_digits(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse the underscores and digits of other scripts that Python takes for a number."""
        odd = isinstance(value, str) and ("_" in value or not value.isascii())
        if odd and _is_number(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("must be a number in plain digits")
        return value


def _is_number(annotation: Any) -> bool:
    return annotation in (int, float) or any(map(_is_number, get_args(annotation)))

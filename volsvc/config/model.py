"""Settings of the models and their registry."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, field_validator

from volsvc.config.base import Section, Texts, has_password


class ModelSettings(Section):
    """The active model, its registry, and the default horizon of a request."""

    variant: Literal["baseline", "ml"] = "ml"
    tracking_uri: str = ""
    # MLflow allows no slash, colon or path as a name; quotes would end the name in its filters.
    name: str = Field("volsvc", min_length=1, pattern=r"^[^/:.%'\"]+$")
    import_packaged: bool = True
    horizon_s: PositiveFloat = 60.0
    # Empty follows the alias `ml`.
    version: str = Field("", pattern=r"^(latest|[0-9]{0,9})$")
    poll_s: Annotated[float, Field(ge=0.1)] = 30.0
    load_timeout_s: PositiveFloat = 8.0
    time_budget_ms: PositiveFloat = 250.0
    shadow: bool = True
    allowed_pickles: Texts = ()

    @field_validator("version")
    @classmethod
    def _as_number(cls, version: str) -> str:
        # Versions are compared as text with those of the registry, which have no leading zeros.
        return version.lstrip("0") if version.isdigit() else version

    @field_validator("allowed_pickles")
    @classmethod
    def _digests(cls, digests: tuple[str, ...]) -> tuple[str, ...]:
        for digest in digests:
            if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
                raise ValueError(f"{digest!r} is no SHA-256 in 64 lower-case hexadecimal digits")
        return digests

    @field_validator("tracking_uri")
    @classmethod
    def _of_a_supported_kind(cls, uri: str) -> str:
        if uri and not uri.startswith(("http://", "https://", "sqlite:///")):
            raise ValueError(
                "must be the http(s):// address of an MLflow server, or sqlite:///file of a local "
                "store; put an MLflow server in front of any other store"
            )
        return uri

    @field_validator("tracking_uri")
    @classmethod
    def _without_password(cls, uri: str) -> str:
        # The address appears in logs, /health and `volsvc config`.
        if has_password(uri):
            raise ValueError(
                "must hold no user and password; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD in the environment"
            )
        return uri

"""The optional dependencies of the package, by extra, and how to install them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import volsvc

# The extra that brings a library, by the name under which the code imports it.
EXTRAS: Final[Mapping[str, str]] = {
    "arch": "train",
    "evidently": "drift",
    "markdown_it": "train",
    "matplotlib": "train",
    "mlflow": "mlflow",
    "opentelemetry": "tracing",
    "pandas": "drift",
    "pyarrow": "parquet",
    "scipy": "train",
    "sklearn": "train",
    "yaml": "monitoring",
}


def needs_extra(subject: str, library: str) -> str:
    """Return that `subject` needs the extra of a library, and how to install it.

    No command of it names the package alone: a package index may have another one of that name.
    """
    extra = EXTRAS[library]
    wheel = f"volsvc-{volsvc.__version__}-py3-none-any.whl"
    return (
        f"{subject} needs the extra {extra!r}: pip install '.[{extra}]' in a checkout, or "
        f"pip install './{wheel}[{extra}]' beside the wheel of a release"
    )

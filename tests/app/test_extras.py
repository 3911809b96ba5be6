"""Messages of commands that lack an optional dependency."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import volsvc
from tests.daemon import command
from tests.needs import ROOT
from volsvc.domain.extras import EXTRAS, needs_extra

# A command that needs it, by the library that is missing.
LACKING = {
    "mlflow": ("models", "promote", "1"),
    "opentelemetry": ("run", "--port", "0"),
    "pandas": ("drift", "--current", "bars.csv", "--out", "report.html"),
    "pyarrow": ("generate", "--minutes", "0.01", "--out", "a.parquet"),
    "scipy": ("train", "--data", "bars.csv"),
    "sklearn": ("evaluate", "--data", "bars.csv", "--start", "2026-01-05"),
    "yaml": ("monitoring", "--slo", "slo.yaml"),
}
EXTRAS_OF_THE_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


def hide(library: str, folder: Path) -> dict[str, str]:
    """Return an environment in which a library looks as if it were not installed."""
    text = f'raise ModuleNotFoundError("No module named {library!r}", name={library!r})\n'
    (folder / library).mkdir(parents=True)
    (folder / library / "__init__.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize("library", LACKING)
async def test_a_command_names_the_extra_that_it_lacks(library: str, tmp_path: Path) -> None:
    """It fails with one line, which names the extra and how to install it."""
    bars = "ts,open,high,low,close,volume\n2026-01-05T00:00:00Z,1,1,1,1,1\n"
    (tmp_path / "bars.csv").write_text(bars)
    env = {**hide(library, tmp_path / "hidden"), "VOLSVC_TRACING__ENABLED": "true"}
    code, out, err = await command(*LACKING[library], env=env, cwd=tmp_path)
    assert code in (1, 2), out
    (line,) = err.strip().splitlines()
    assert line.startswith("volsvc: error: ")
    assert line.endswith(needs_extra("", library))


@pytest.mark.parametrize("library", EXTRAS)
def test_the_hint_names_an_extra_and_places_that_exist(library: str) -> None:
    """Its commands install from the checkout or from the release's wheel, with an extra of ours."""
    places = re.findall(r"pip install (\S+)", needs_extra("a", library))
    extra = EXTRAS[library]
    assert extra in EXTRAS_OF_THE_PROJECT
    assert [shlex.split(place)[0] for place in places] == [
        f".[{extra}]",
        f"./volsvc-{volsvc.__version__}-py3-none-any.whl[{extra}]",
    ]

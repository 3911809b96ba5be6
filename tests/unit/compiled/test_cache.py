"""The cache of machine code on disk."""

import hashlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import pytest
from numba.core import config

from volsvc.compiled.compilations import Compilations

pytestmark = pytest.mark.skipif("NUMBA_DISABLE_JIT" in os.environ, reason="nothing is compiled")

BASE = """
from volsvc.compiled import kernel
SCALE = 3.0
@kernel
def scaled(x, plus=0.0):
    return x * SCALE + plus
"""
USER = """
from volsvc.compiled import kernel
import kernels_base
from kernels_base import SCALE, scaled
@kernel
def total(values):
    sum = 0.0
    for i in range(values.shape[0]):
        sum += scaled(values[i]) + kernels_base.SCALE
    return sum
"""
VALUES = np.arange(3.0)

Load = Callable[[], ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import kernels_user, and kernels_base that it uses, as a new process would."""
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "kernels_base.py").write_text(BASE)
    (tmp_path / "kernels_user.py").write_text(USER)

    def load() -> ModuleType:
        module = None
        for name in ("kernels_base", "kernels_user"):
            spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            # Not from *.pyc: two sources of the same size within a second look the same.
            code = compile((tmp_path / f"{name}.py").read_text(), spec.origin or "", "exec")
            exec(code, vars(module))
        assert module is not None
        return module

    yield load
    for name in ("kernels_base", "kernels_user"):
        sys.modules.pop(name, None)


def compiled_by(load: Load) -> tuple[float, int]:
    """Return the result of the kernel in a new process, and the number of compilations."""
    module = load()
    with Compilations() as compilations:
        return module.total(VALUES), compilations.count


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.nbc")}


def test_machine_code_is_compiled_once(load: Load, tmp_path: Path) -> None:
    """The second process finds the code of the first beside the sources."""
    assert compiled_by(load) == (18.0, 2)
    assert len(files(tmp_path / "__pycache__")) == 2
    assert compiled_by(load) == (18.0, 0)


@pytest.mark.parametrize(
    ("before", "after", "total"),
    [
        ("SCALE = 3.0", "SCALE = 4.0", 24.0),
        ("x * SCALE", "x + SCALE", 21.0),
        ("plus=0.0", "plus=1.0", 21.0),
    ],
    ids=["constant", "kernel", "default"],
)
def test_a_change_in_another_module_is_seen(
    load: Load, tmp_path: Path, before: str, after: str, total: float
) -> None:
    """Code that has another module's kernel or constant within it is compiled anew."""
    compiled_by(load)
    old = files(tmp_path)
    (tmp_path / "kernels_base.py").write_text(BASE.replace(before, after))
    assert compiled_by(load) == (total, 2)
    assert compiled_by(load) == (total, 0)
    assert not files(tmp_path) & old, "code of the former source stays"


def test_a_filled_cache_needs_no_writing(load: Load, tmp_path: Path) -> None:
    """A cache that another user has filled is read although nothing can be written."""
    compiled_by(load)
    folder = tmp_path / "__pycache__"
    folder.chmod(0o555)
    (tmp_path / "home").write_text("no folder")
    try:
        assert compiled_by(load) == (18.0, 0)
    finally:
        folder.chmod(0o755)


def test_the_users_cache_is_the_second_choice(load: Load, tmp_path: Path) -> None:
    """The user's own cache is filled if nothing can be written beside the sources."""
    (tmp_path / "__pycache__").write_text("no folder")
    assert compiled_by(load) == (18.0, 2)
    assert len(files(tmp_path / "home" / "volsvc")) == 2
    assert compiled_by(load) == (18.0, 0)


def test_without_any_folder_code_stays_in_memory(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kernels are compiled in every process, with one warning, if nothing can be written."""
    for name in ("__pycache__", "home"):
        (tmp_path / name).write_text("no folder")
    with caplog.at_level(logging.WARNING, "volsvc.compiled"):
        assert compiled_by(load) == (18.0, 2)
    assert [str(tmp_path) in record.getMessage() for record in caplog.records] == [True]


def test_numba_cache_dir_is_the_only_place(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NUMBA_CACHE_DIR replaces both places."""
    compiled_by(load)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "given"))
    assert compiled_by(load) == (18.0, 2)
    assert len(files(tmp_path / "given")) == 2
    assert compiled_by(load) == (18.0, 0)


# Whole, but of a module that is no more.
FOREIGN = b"cno_such_module\nname\n."


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x80", bytes(4096), hashlib.sha256(FOREIGN).digest() + FOREIGN],
    ids=["empty", "cut", "zeros", "foreign"],
)
def test_damaged_code_is_compiled_anew(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    """A file that is cut off or overwritten is not run; it is replaced, with a warning."""
    compiled_by(load)
    for path in (tmp_path / "__pycache__").glob("*.nbc"):
        path.write_bytes(damage)
    with caplog.at_level(logging.WARNING, "volsvc.compiled"):
        assert compiled_by(load) == (18.0, 2)
    assert all("compiled anew" in record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 2
    assert compiled_by(load) == (18.0, 0)


@pytest.mark.parametrize("name", ["numba", "bounds"])
def test_code_for_others_is_left_alone(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Code of another numba, or for other options, is neither run nor removed."""
    compiled_by(load)
    with monkeypatch.context() as other:
        if name == "numba":
            other.setattr(numba, "__version__", "0.0")
        else:
            other.setattr(config, "BOUNDSCHECK", 1)
        assert compiled_by(load) == (18.0, 2)
    assert len(files(tmp_path)) == 4
    assert compiled_by(load) == (18.0, 0)

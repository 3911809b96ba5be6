"""The packages whose tests are judged, and the tests that belong to each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Package(NamedTuple):
    """Modules as paths below volsvc/, tests as arguments of pytest."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    # Tests that are too slow to run once per mutant; other tests see the same faults.
    without: tuple[str, ...] = ()


PACKAGES = {
    "features": Package(
        ("features",),
        ("tests/unit/features",),
        ("tests/unit/features/test_return_window.py::test_millions_of_updates",),
    ),
    "scoring": Package(("scoring",), ("tests/unit/scoring",)),
    "models": Package(("models",), ("tests/unit/models",)),
    "serving": Package(("serving",), ("tests/unit/serving",)),
    "pipeline": Package(("pipeline",), ("tests/unit/pipeline",)),
    "transport": Package(
        ("transport/codec.py", "transport/features_record.py", "transport/memory.py"),
        ("tests/unit/transport",),
    ),
    "web": Package(
        (
            "web/auth",
            "web/headers.py",
            "web/routes/answers.py",
            "web/routes/latest.py",
            "web/routes/pages.py",
        ),
        (
            "tests/unit/web",
            "tests/web/test_auth.py",
            "tests/web/test_answers.py",
            "tests/web/test_pages.py",
            "tests/web/test_rate_limit.py",
            "tests/web/test_validators.py",
        ),
        # It takes a minute to fail, and is about neither keys nor caches.
        ("tests/web/test_answers.py::test_draining_finishes_what_is_in_flight",),
    ),
}


def modules(package: Package) -> Iterator[Path]:
    """Yield the modules of a package, relative to the root, in order of their names."""
    for name in package.modules:
        path = ROOT / "volsvc" / name
        for module in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield module.relative_to(ROOT)


def package_of(module: Path) -> str | None:
    """Return the name of the package that a module belongs to."""
    found = (name for name, package in PACKAGES.items() if module in set(modules(package)))
    return next(found, None)

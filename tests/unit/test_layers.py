"""Layers of packages, the libraries at the edge, and purity."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import volsvc

# Packages from the ground up: each imports from the lines above its own, never from its line.
LAYERS = """
backoff   compiled    config      domain      failpoints
safe_io
scoring   monitoring  telemetry
features  transport   sources
models    simulator   store
serving   drift       training
pipeline
web
client    daemon
commands
cli
"""

# Packages and modules without I/O and clock: time comes in as an argument.
PURE = {
    *("domain", "scoring", "features", "models"),
    *("drift/distance.py", "drift/judge.py", "drift/reference.py", "drift/window.py"),
}
# The one module of a pure package that may open a file: the packaged artefact.
READS_A_FILE = "models/artefact.py"
SIDE_EFFECTS = {"asyncio", "time", "os", "pathlib", "socket", "logging", "structlog", "random"}

# Libraries of the outside world, and the packages that may know them.
EDGES = {
    "aiokafka": {"transport"},
    "aiohttp": {"client", "commands", "serving", "simulator", "sources", "web"},
}

ROOT = Path(volsvc.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__main__.py")


def package_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Full names of all that a module imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of_ours() -> Iterator[tuple[str, str]]:
    """Pairs of modules of ours, the importing one first."""
    known = {module_of(path) for path in MODULES}
    for path in MODULES:
        yield from ((module_of(path), name) for name in imported(path) if name in known)


def test_arrows_point_to_the_ground() -> None:
    """A package imports from lower layers only, and every package has a layer."""
    layer = {name: at for at, line in enumerate(LAYERS.split("\n")) for name in line.split()}
    arrows = {(package_of(a), package_of(b)) for a, b in imports_of_ours() if "." in a and "." in b}
    packages = {package_of(module_of(path)) for path in MODULES} - {"volsvc"}
    assert packages == set(layer)
    assert {(a, b) for a, b in arrows if a != b and layer[a] <= layer[b]} == set()


def test_no_module_imports_itself_through_others() -> None:
    """There is no circle of modules; a package's face, which only hands names on, is none."""
    graph: dict[str, set[str]] = {}
    faces = {module_of(path) for path in MODULES if path.name == "__init__.py"}
    for module, name in imports_of_ours():
        if module not in faces and name not in faces:
            graph.setdefault(module, set()).add(name)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_the_picture_shows_the_layers() -> None:
    """docs/architecture.md has these very lines."""
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    assert f"```text{LAYERS}```" in re.sub(r" +#.*", "", page)


def test_the_outside_world_is_known_at_the_edge() -> None:
    """Kafka is known to the transport alone; HTTP to those who speak it."""
    found = {
        (library, package_of(module_of(path)))
        for path in MODULES
        for library in {name.split(".")[0] for name in imported(path)} & set(EDGES)
    }
    assert {(library, package) for library, package in found if package not in EDGES[library]} == (
        set()
    )


def test_pure_packages_have_no_side_effects() -> None:
    """Pure packages import neither a clock nor anything that does I/O."""
    impure = set()
    for path in MODULES:
        place = path.relative_to(ROOT).as_posix()
        if PURE & {place, place.split("/")[0]} and place != READS_A_FILE:
            libraries = {name.split(".")[0] for name in imported(path)}
            impure |= {(place, library) for library in libraries & SIDE_EFFECTS}
    assert impure == set()


def test_rooms_are_found() -> None:
    """The package's folder holds packages and at most two modules, no package over 20 modules."""
    loose = {path.name for path in ROOT.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert len(loose) <= 2, loose
    folders = {path.parent for path in MODULES}
    full = {str(f.relative_to(ROOT)) for f in folders if len(list(f.glob("*.py"))) > 20}
    assert full == set()

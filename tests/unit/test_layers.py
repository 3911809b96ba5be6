"""Who may know whom."""

import ast
from pathlib import Path

import pytest

import volsvc

ROWS = (
    ("live_settings",),
    ("http_config",),
    ("domain", "config", "kafka_config", "watch_config"),
    ("packing",),
    ("quality", "evidence"),
    (
        "features",
        "drift",
        "metrics",
        "logs",
        "board",
        "supervisor",
        "health",
        "instance",
        "journal",
        "monitoring",
        "drift_report",
        "tracing",
    ),
    ("keys", "streams"),
    ("transport", "sources", "models"),
    ("ownership", "replica", "scoreboard", "drift_watch", "vitals"),
    ("producer", "consumer", "web", "training", "registration", "model_log"),
    ("model_setup", "feed_reporter", "simulator", "client"),
    ("reporter",),
    ("source_setup",),
    ("app",),
    (
        *("commands", "model_commands", "model_admin", "digest_commands", "feed_commands"),
        *("drift_commands", "doctor", "progress", "command_line", "collector"),
        *("top", "top_view", "top_objectives"),
    ),
    ("model_cli", "feed_cli", "watch_cli"),
    ("cli",),
)
"""A part imports from rows above its own only; parts in one row do not import one another."""

HEAVY = {
    "aiokafka": ("transport",),
    "aiohttp": ("web", "models", "sources", "simulator", "client"),
}
ROOT = Path(volsvc.__file__).parent
ALLOWED = {
    ("config", "kafka_config"),
    ("config", "watch_config"),
    ("commands", "progress"),
    ("feed_commands", "commands"),
    ("feed_commands", "progress"),
    ("model_commands", "progress"),
    ("digest_commands", "progress"),
    ("drift_commands", "progress"),
    ("digest_commands", "commands"),
    ("quality", "evidence"),
    ("top", "model_admin"),
    ("top", "top_view"),
    ("top", "top_objectives"),
    ("top_view", "top_objectives"),
}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of the modules that a module imports, anywhere inside it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def row_of(part: str) -> int:
    return next(index for index, row in enumerate(ROWS) if part in row)


MODULES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path not in (ROOT / "__init__.py", ROOT / "__main__.py")
]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_up(path: Path) -> None:
    """Every import of ours goes to a row above, or stays inside its part."""
    own = part_of(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "volsvc" or len(parts) < 2 or parts[1] in (own, "__version__"):
            continue
        pair = (own, parts[1])
        assert row_of(parts[1]) < row_of(own) or pair in ALLOWED, f"{own} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_edges_stay_at_the_edge(path: Path) -> None:
    """Kafka is known to the transport alone; HTTP to web, client, live sources and simulator."""
    libraries = {name.split(".")[0] for name in imported(path)}
    for library, owners in HEAVY.items():
        if library in libraries:
            assert part_of(path) in owners, f"{path} imports {library}"


def test_pure_parts_do_no_io() -> None:
    """Domain and features import neither a clock nor anything that does I/O."""
    banned = {"asyncio", "time", "os", "pathlib", "socket", "logging", "structlog", "random"}
    for path in MODULES:
        if part_of(path) in ("domain", "features", "drift", "quality", "evidence", "packing"):
            found = {name.split(".")[0] for name in imported(path)} & banned
            assert not found, f"{path} imports {found}"

"""Settings, metrics, alerts, commands, files and log events that the pages name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.docs.blocks import ROOT, pages
from volsvc.cli.main import cli
from volsvc.config.settings import PREFIX, Settings, known_keys
from volsvc.telemetry.feed_metrics import FEED_MESSAGES, FEED_REASONS
from volsvc.web.problem_types import PROBLEM_TYPES

DOCS = ROOT / "docs"
# Old sections of the changelog keep the names of their time.
PAGES = [page for page in pages() if page.name != "CHANGELOG.md"]
MODULES = sorted((ROOT / "volsvc").rglob("*.py"))
TEXTS = [*PAGES, ROOT / "config.toml", *MODULES]
KEYS = set(known_keys(Settings))
SECTIONS = {key for key in KEYS if "." not in key}
# Dotted names that begin as a section does: the fields of an answer, and a host of Kubernetes.
FIELDS = re.compile(r"quality\.(calibration|gaps|verdict|warmed)|kafka\.kafka\.svc")


def code(text: str) -> list[str]:
    """Return what stands between single backticks on one or two lines."""
    return [" ".join(found.split()) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def each(paths: list[Path]) -> pytest.MarkDecorator:
    """Return a decorator that runs a test for each file."""
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


@each(PAGES)
def test_settings_exist(path: Path) -> None:
    """Each key of a section, and each variable that sets one, is a setting."""
    text = path.read_text()
    dotted = {found for word in code(text) for found in re.findall(r"^([a-z]+\.[a-z_.]+)", word)}
    named = {key for key in dotted if key.split(".")[0] in SECTIONS and not FIELDS.match(key)}
    variables = set(re.findall(rf"\b{PREFIX}([A-Z_]+__[A-Z_]+)\b", text))
    named |= {name.lower().replace("__", ".") for name in variables}
    assert named - KEYS == set()


@each(PAGES)
def test_metrics_exist(path: Path) -> None:
    """Each metric of ours is one of docs/metrics.md, which has those of a live scrape."""
    known = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "metrics.md").read_text(), re.MULTILINE))
    named = {
        re.sub(r"_(bucket|count|sum)$", "", n)
        for n in re.findall(r"\bvolsvc_\w+", path.read_text())
    }
    assert named - known == set()


@each(PAGES)
def test_alerts_exist(path: Path) -> None:
    """Each alert has its section in the runbook, which has those of the rules."""
    sections = re.findall(r"^## (Volsvc\w+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    assert (
        set(re.findall(r"\bVolsvc[A-Z]\w+", path.read_text())) - {*sections, "VolsvcError"} == set()
    )


def faults_of(words: list[str]) -> Iterator[str]:
    """Yield the words that are no command of ours, and the options that it does not have."""
    command: Any = get_command(cli)
    options = {"--help"}
    for word in words:
        commands = getattr(command, "commands", {})
        if word in commands:
            command = commands[word]
            for option in command.params:
                options |= {*option.opts, *option.secondary_opts}
        elif word.startswith("--"):
            if word not in options:
                yield word
        elif commands and word.isalpha() and word.islower():
            yield word


@pytest.mark.parametrize(
    ("command", "faults"),
    [
        ("models promote 3", []),
        ("keys new --scopes SCOPES", []),
        ("drift --nonsense", ["--nonsense"]),
        ("nonsense promote", ["nonsense"]),
        ("models demote 3", ["demote"]),
    ],
)
def test_a_command_that_does_not_exist_is_found(command: str, faults: list[str]) -> None:
    """Neither a command nor an option that is misspelt passes."""
    assert list(faults_of(command.split()))[:1] == faults


@each(TEXTS)
def test_commands_exist(path: Path) -> None:
    """Each command of ours that prose, a comment or a message names has these options."""
    named = [word.split()[1:] for word in code(path.read_text()) if word.startswith("volsvc ")]
    assert {" ".join(words): found for words in named if (found := list(faults_of(words)))} == {}


@cache
def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@each(PAGES)
def test_targets_of_make_exist(path: Path) -> None:
    """Each target of make that a page names is there."""
    calls = (re.match(r"make((?: [a-z][a-z-]*)+)", word) for word in code(path.read_text()))
    named = {target for call in calls if call for target in call[1].split()}
    assert named - targets() == set()


@cache
def files() -> frozenset[str]:
    """Return the paths of the files that a page may name, each with a slash before it."""
    folders = (ROOT / name for name in ("volsvc", "tests", "docs", "deploy", ".github"))
    found = [*ROOT.iterdir(), *(path for folder in folders for path in folder.rglob("*"))]
    return frozenset(f"/{path.relative_to(ROOT)}" for path in found)


# A file that the reader makes, or that the service keeps, and what stands for any name.
MADE = re.compile(
    r"NAME|NNNN|^/|^(my-model|report|keys|ticks|sample|forecasts|faults|a|btc|bars)\b|registered\.json"
    r"|volsvc\.cdx\.json|models\.jsonl"
)


@each(PAGES)
def test_files_that_are_named_without_their_folder_exist(path: Path) -> None:
    """Each file that a page names is in the repository, wherever it is."""
    kinds = r"[\w./-]+\.(?:py|js|css|toml|ya?ml|json|npz|sh|html|md|cast|webm)"
    named = {word for word in code(path.read_text()) if re.fullmatch(kinds, word)}
    assert {
        word
        for word in named
        if not MADE.search(word) and not any(file.endswith(f"/{word}") for file in files())
    } == set()


def test_problem_types_of_the_api_page() -> None:
    """The table has every problem type with its status, and no other."""
    _, _, table = (DOCS / "api.md").read_text().partition("| type | status |")
    cells = [cell.strip() for cell in table.partition("\n\n")[0].replace("\n", "").split("|")]
    listed = {
        slug: int(status)
        for slugs, status in pairwise(cells)
        if status.isdigit()
        for slug in code(slugs)
    }
    assert listed == {slug: problem.status for slug, problem in PROBLEM_TYPES.items()}


def test_labels_of_the_live_page() -> None:
    """The page lists every reason and every kind of the feed's metrics."""
    text = (DOCS / "live.md").read_text()
    for label, values in (
        ("reconnects_total{reason}", FEED_REASONS),
        ("messages_total{kind}", FEED_MESSAGES),
    ):
        (meaning,) = re.findall(
            rf"^\| `volsvc_feed_{re.escape(label)}` \| (.*) \|$", text, re.MULTILINE
        )
        assert set(code(meaning)) == set(values)


def test_panels_and_log_events_of_the_runbook() -> None:
    """A panel that it sends to has this title, and an event that it looks for is logged."""
    text = (DOCS / "runbook.md").read_text()
    boards = yaml.safe_load((ROOT / "deploy" / "dashboards.yaml").read_text())
    titles = set(re.findall(r"'title': '([^']+)'", str(boards)))
    sentences = re.findall(r"panels? (\*[^.;:]+\*)", " ".join(text.split()))
    panels = {panel for sentence in sentences for panel in re.findall(r"\*([^*]+)\*", sentence)}
    assert panels
    assert panels - titles == set()
    events = set(re.findall(r"(?:log has|logged as) `(\w+)`", " ".join(text.split())))
    logged = "\n".join(module.read_text() for module in MODULES)
    assert events
    assert {event for event in events if f'"{event}"' not in logged} == set()

"""The tables of the pages agree with the code."""

from __future__ import annotations

import re
import subprocess
import tomllib
from typing import get_args

from typer.main import get_command

from tests.docs.blocks import ROOT
from tests.docs.settings import CONFIG, PAGE, settings, written
from tests.monitoring.metrics_doc import FILE, document
from volsvc.cli.main import cli
from volsvc.config.settings import SHORT_NAMES, Settings, known_keys
from volsvc.domain.records import ALIASES
from volsvc.monitoring.rules import rules
from volsvc.monitoring.spec import read_spec
from volsvc.simulator.script import FaultKind
from volsvc.sources.recordings.tables.bar_columns import BAR_ALIASES, PRICES
from volsvc.web.openapi.routes import ROUTES

DOCS = ROOT / "docs"


def leaves() -> set[str]:
    """Return every key of the configuration that is not a section."""
    keys = known_keys(Settings)
    return {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}


def test_every_setting_is_in_config_toml() -> None:
    """config.toml has every key that the code reads, commented out or not, with its meaning."""
    assert {setting.key for setting in settings()} == leaves(), CONFIG


def test_every_setting_is_in_the_setup_page() -> None:
    """The table of docs/setup.md is that of config.toml."""
    assert PAGE.read_text() == written(PAGE.read_text()), "run python -m tests.docs.settings"


def test_defaults_are_those_of_the_code() -> None:
    """config.toml shows the code's default of each key, but for the console format of the log."""

    def default(key: str) -> object:
        value: object = Settings()
        for part in key.split("."):
            value = getattr(value, part)
        return value

    shown = tomllib.loads(CONFIG.read_text())
    different = {}
    for key in leaves():
        *sections, name = key.split(".")
        place = shown
        for section in sections:
            place = place[section]
        if name in place and plain(place[name]) != plain(default(key)):
            different[key] = (place[name], default(key))
    assert set(different) == {"service.log_format"}, different


def plain(value: object) -> object:
    """Return a setting in a form in which paths, lists and numbers compare equal."""
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return float(value) if isinstance(value, (int, float)) else str(value)


def test_short_names_are_documented() -> None:
    """Variables that work without the prefix are in the setup page and in config.toml."""
    for text in (PAGE.read_text(), CONFIG.read_text()):
        assert set(SHORT_NAMES) - set(re.findall(r"\w+", text)) == set()


def test_every_name_of_a_field_is_in_the_inputs_page() -> None:
    """The tables of docs/inputs.md have the accepted names, in their order."""
    _, ticks, bars = re.split("## Names of fields.*", (DOCS / "inputs.md").read_text())
    assert names_in(ticks) == ALIASES
    first = BAR_ALIASES["time"].index(ALIASES["time"][0])
    of_bars = {"time": BAR_ALIASES["time"][:first]}
    of_bars |= {field: BAR_ALIASES[field] for field in (*PRICES, "volume")}
    assert names_in(bars) == of_bars


def names_in(text: str) -> dict[str, tuple[str, ...]]:
    """Return the names of each field in a table."""
    rows = [row for row in text.splitlines() if "`" in row and row.startswith("|")]
    cells = [row.split("|")[1:3] for row in rows]
    return {field.strip(): tuple(re.findall("`(.*?)`", names)) for field, names in cells}


def test_every_route_is_in_the_api_page() -> None:
    """Each route of the document is in the table of docs/api.md."""
    rows = [line for line in (DOCS / "api.md").read_text().splitlines() if line.startswith("| `")]
    table = "\n".join(rows)
    named = set(re.findall(r"(/[a-z0-9_/{}.-]*)(?:[`?]|$)", table))
    parts = {"/assets/{name}", "/docs/assets/{name}"}
    assert {route.path for route in ROUTES} - named - parts == set()


def test_every_metric_is_in_the_metrics_page() -> None:
    """docs/metrics.md is generated from the current metrics."""
    assert FILE.read_text() == document(), "run make monitoring"


def test_every_alert_has_its_section() -> None:
    """Each alert of the rules has a section of its own in the runbook."""
    groups = rules(read_spec(ROOT / "deploy" / "slo.yaml"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    sections = re.findall(r"^## (Volsvc\w+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    assert set(sections) == alerts
    assert len(sections) == len(alerts)


def test_every_fault_that_is_injected_is_in_the_runbook() -> None:
    """Each kind of fault of the simulator is in a section on faults, which names existing tests."""
    text = (DOCS / "runbook.md").read_text()
    faults = text[text.index("## Fault: ") :]
    assert {kind for kind in get_args(FaultKind) if f"`{kind}`" not in faults} == set()
    known = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for section in faults.split("\n## ")[1:]:
        named = re.findall(r"`(?:tests/[\w/]+/)?(test_\w+\.py)`", section.rpartition("Test")[2])
        assert named, section[:80]
        assert set(named) <= known, section[:80]


def test_every_command_is_documented() -> None:
    """docs/commands.md has each command of the command line and each target that make lists."""
    text = (DOCS / "commands.md").read_text()
    commands = set(get_command(cli).commands)  # type: ignore[attr-defined]
    rows = re.findall(r"^\| (`volsvc .+?) \|", text, re.MULTILINE)
    assert commands - set(re.findall(r"`(?:volsvc )?([a-z-]+)", "\n".join(rows))) == set()
    assert set(re.findall(r"`volsvc ([a-z-]+)", "\n".join(rows))) - commands == set()
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = set(re.findall(r"^([a-z-]+) ", listed.stdout, re.MULTILINE))
    own = {"help", "kafka", "linters", "wheel", "clean"}
    assert {target for target in targets - own if f"make {target}`" not in text} == set()

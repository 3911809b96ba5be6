"""`volsvc monitoring` for another environment: options replace keys of the file."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.daemon import command
from tests.deploy.composition import ROOT

ELSEWHERE = {
    "--targets": "a.example:8000,b.example:8000",
    "--alertmanagers": "am.example:9093",
    "--prometheus": "http://p.example:9090",
    "--dashboards-folder": "/boards",
    "--key-file": "/run/key",
    "--page": "https://page.example/x",
}


async def test_options_stand_in_for_keys_of_the_file(tmp_path: Path) -> None:
    """Each option replaces its key, and the other keys are those of the file."""
    words = [word for pair in ELSEWHERE.items() for word in pair]
    slo = str(ROOT / "deploy" / "slo.yaml")
    code, _, err = await command(
        "monitoring", "--slo", slo, "--out", str(tmp_path), *words, cwd=tmp_path
    )
    assert code == 0, err

    def read(place: str) -> dict[str, list[dict[str, object]]]:
        found: dict[str, list[dict[str, object]]] = yaml.safe_load((tmp_path / place).read_text())
        return found

    (scrape,) = read("prometheus/prometheus.yml")["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["a.example:8000", "b.example:8000"]}]
    assert scrape["authorization"] == {"credentials_file": "/run/key"}
    hooks = [r["webhook_configs"] for r in read("alertmanager/alertmanager.yml")["receivers"]]
    assert "https://page.example/x" in str(hooks)
    assert "http://127.0.0.1:9095/ticket" in str(hooks)
    (source,) = read("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://p.example:9090"
    (provider,) = read("grafana/provisioning/dashboards/volsvc.yml")["providers"]
    assert provider["options"] == {"path": "/boards"}


async def test_an_option_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A factor that is not a number is a usage error."""
    code, _, err = await command("monitoring", "--faster", "fast", cwd=tmp_path)
    assert code == 2
    assert "--faster" in err

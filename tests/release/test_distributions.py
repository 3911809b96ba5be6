"""The wheel and the source distribution, and the service that runs from the wheel alone."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import volsvc
from tests.daemon import RunningDaemon, eventually, serving
from tests.needs import chromium
from tests.release import sbom
from tests.release.environment import ROOT, bare, built, installed
from tests.web.serving import ROW
from volsvc.domain.extras import needs_extra

pytestmark = pytest.mark.long

BROWSE = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--virtual-time-budget=8000", "--dump-dom"),
)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution."""
    return built(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def programs(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with only the wheel."""
    return installed(distributions[0], tmp_path_factory.mktemp("environment"))


@pytest.fixture
async def service(programs: Path, tmp_path: Path) -> AsyncIterator[RunningDaemon]:
    """Run `volsvc run` of the wheel in an empty folder, as a first user does."""
    process = await asyncio.create_subprocess_exec(
        *(programs / "volsvc", "run", "--port", "0"),
        cwd=tmp_path,
        env=bare(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with serving(process) as daemon:
        yield daemon
        assert await daemon.stop(within_s=20) == 0, daemon.log


def packaged_files() -> dict[str, bytes]:
    """Return the files in the source tree of the package."""
    paths = (path for path in (ROOT / "volsvc").rglob("*") if path.is_file())
    ours = (path for path in paths if "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in ours}


def test_the_wheel_has_every_file(distributions: tuple[Path, Path]) -> None:
    """The wheel has code, models, pages, examples and licences, and nothing else."""
    with zipfile.ZipFile(distributions[0]) as wheel:
        inside = {name: wheel.read(name) for name in wheel.namelist()}
    about = {name for name in inside if ".dist-info/" in name}
    assert {name: inside[name] for name in inside.keys() - about} == packaged_files()
    (metadata,) = (inside[name].decode() for name in about if name.endswith("/METADATA"))
    assert f"\nVersion: {volsvc.__version__}\n" in metadata
    assert {name.split("/licenses/")[1] for name in about if "/licenses/" in name} == {
        "LICENSE",
        "volsvc/web/static/docs/LICENSE",
        "volsvc/web/static/docs/NOTICE",
    }


def test_the_wheel_installs_with_an_extra(distributions: tuple[Path, Path]) -> None:
    """Pip takes what a message about a missing extra says, and finds the extra in the wheel."""
    (place,) = re.findall(r"'(\S+\.whl\[\w+\])'", needs_extra("a", "pyarrow"))
    pip = (sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index")
    done = subprocess.run(
        (*pip, place), cwd=distributions[0].parent, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_source_distribution_builds_and_tests(distributions: tuple[Path, Path]) -> None:
    """The source distribution has what make, the tests and the pages need, and no local file."""
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        ".ci/run",
        ".env.example",
        ".github/workflows/ci.yml",
        "mkdocs.yml",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "Makefile",
        "config.toml",
        "constraints.txt",
        "pyproject.toml",
        "README.md",
    }
    needed |= {"CHANGELOG.md", "LICENSE", "tests/daemon.py", "docs/client.md", "deploy/slo.yaml"}
    assert needed <= names
    assert not [n for n in names if re.search(r"(^|/)(\.venv|\.cache|var|\.env)(/|$)", n)]


def test_the_version_stands_in_one_place() -> None:
    """The version is that of the newest section of the changelog, and no other module has it."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    sections = re.findall(r"^## \[([0-9.]+)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert sections[0] == volsvc.__version__
    version = f'"{volsvc.__version__}"'.encode()
    modules = {n: text for n, text in packaged_files().items() if n.endswith(".py")}
    assert [name for name, text in modules.items() if version in text] == ["volsvc/__init__.py"]


async def test_the_wheel_runs_by_itself(service: RunningDaemon) -> None:
    """In an empty folder the wheel serves forecasts, symbols, pages and the OpenAPI document."""
    assert await service.status("/health/ready") == 200
    status, answer = await service.predict(rows=[ROW])
    assert (status, answer["model_variant"]) == (200, "ml")

    async def streams() -> bool:
        return len((await service.get("/latest"))["symbols"]) == 3

    await eventually(streams, 20, "three generated markets are known")
    assert (await service.get("/version"))["version"] == volsvc.__version__
    for page in ("/", "/docs"):
        text = await service.text(page)
        files = re.findall(r'(?:src|href)="([^"#:]+)"', text)
        assert "<html" in text
        assert [f for f in files if await service.status(f"/{f.lstrip('/')}") != 200] == []
    health = await service.get("/health")
    assert health["status"] == "ok", health


async def test_its_pages_work_in_a_browser(service: RunningDaemon, tmp_path: Path) -> None:
    """Chromium runs the scripts of the pages, and their content comes from the service."""
    assert "/predict" in await shown(service.url + "/docs", tmp_path)

    async def listed() -> bool:
        return "BTC-USD" in await shown(service.url + "/", tmp_path)

    await eventually(listed, 60, "the page lists a market")


async def shown(url: str, profile: Path) -> str:
    """Return the content of a page after its scripts have run."""
    process = await asyncio.create_subprocess_exec(
        *(chromium(), *BROWSE, f"--user-data-dir={profile / 'profile'}", url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    return out.decode()


def test_help_is_there(programs: Path, tmp_path: Path) -> None:
    """Every command prints its help, from the wheel alone, without a traceback."""

    def said(*arguments: str) -> str:
        command = (str(programs / "volsvc"), *arguments, "--help")
        done = subprocess.run(command, cwd=tmp_path, env=bare(), capture_output=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    commands = re.findall(r"^  ([a-z]+)  ", said().partition("Commands:")[2], re.MULTILINE)
    assert {"run", "models", "train", "doctor"} <= set(commands)
    for command in commands:
        assert f"Usage: volsvc {command}" in said(command)


def test_the_bill_of_materials(distributions: tuple[Path, Path], programs: Path) -> None:
    """The SBOM is valid CycloneDX, with the package, versioned dependencies, and assets."""
    bill: dict[str, Any] = sbom.described(distributions[0], programs / "python")
    assert bill["metadata"]["component"]["version"] == volsvc.__version__
    pinned = dict(
        line.partition(" ")[0].split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    )
    found = {component["name"]: component["version"] for component in bill["components"]}
    assert {"aiohttp", "aiokafka", "numpy", "pydantic", "swagger-ui-dist"} <= set(found)
    assert found["aiohttp"] == pinned["aiohttp"]
    assert "pip" not in found
    version = SchemaVersion.from_version(bill["specVersion"])
    assert JsonStrictValidator(version).validate_str(json.dumps(bill)) is None

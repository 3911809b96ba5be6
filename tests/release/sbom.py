"""`python -m tests.release.sbom WHEEL OUT`: the components of an installed wheel, as CycloneDX.

The wheel is installed into an empty environment, which is what is described; what the package
brings along that no package manager knows of is added.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.release.environment import ROOT, installed

# Packages of every new environment that nothing of ours needs.
INSTALLERS = {"pip", "setuptools"}
BUNDLE = ROOT / "volsvc/web/static/docs/swagger-ui-bundle.js"


def swagger_ui() -> dict[str, Any]:
    """Return the docs page's script and style, which are files of the package."""
    found = re.search(r'PACKAGE_VERSION:"([0-9.]+)"', BUNDLE.read_text())
    assert found is not None, "the bundle says which version it is"
    purl = f"pkg:npm/swagger-ui-dist@{found[1]}"
    return {
        "bom-ref": purl,
        "licenses": [{"license": {"acknowledgement": "declared", "id": "Apache-2.0"}}],
        "name": "swagger-ui-dist",
        "purl": purl,
        "type": "library",
        "version": found[1],
    }


def described(wheel: Path, python: Path) -> dict[str, Any]:
    """Return the bill of materials of an environment with the wheel."""
    tool = (
        Path(sys.executable).with_name("cyclonedx-py"),
        "environment",
        "--output-reproducible",
        "--no-validate",
    )
    command = (*tool, "--pyproject", ROOT / "pyproject.toml", python)
    done = subprocess.run(command, check=True, capture_output=True, timeout=120)
    bill: dict[str, Any] = json.loads(done.stdout)
    bill["metadata"]["component"]["version"] = wheel.name.split("-")[1]
    bill["components"] = [c for c in bill["components"] if c["name"] not in INSTALLERS]
    bill["components"].append(swagger_ui())
    known = {c["bom-ref"] for c in (*bill["components"], bill["metadata"]["component"])}
    bill["dependencies"] = [d for d in bill["dependencies"] if d["ref"] in known]
    return bill


def main(wheel: Path, out: Path) -> None:
    """Write the bill of materials of a wheel."""
    with tempfile.TemporaryDirectory() as folder:
        bill = described(wheel, installed(wheel, Path(folder)) / "python")
    out.write_text(json.dumps(bill, indent=1) + "\n")
    print(f"{out}: {len(bill['components'])} components")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

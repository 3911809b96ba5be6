"""Digests of runs, compared by `volsvc verify`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.daemon import command
from volsvc.commands.files import generate_file


@pytest.mark.long
async def test_two_runs_are_compared(tmp_path: Path) -> None:
    """The same ticks give the same digests; a missing tick is found in its minute."""
    whole, torn = tmp_path / "whole.ndjson", tmp_path / "torn.ndjson"
    generate_file(whole, minutes=4, seed=3, symbols=("BTC-USD",), start="2026-01-05T14:00:00Z")
    lines = whole.read_text().splitlines(keepends=True)
    lost = next(i for i, line in enumerate(lines) if "T14:02:30" in line)
    torn.write_text("".join(lines[:lost] + lines[lost + 1 :]))
    for name in ("whole", "torn"):
        arguments = (
            f"{name}.ndjson",
            "--out",
            f"{name}.csv",
            "--digests",
            f"{name}.digests.ndjson",
        )
        code, _, err = await command("features", *arguments, cwd=tmp_path)
        assert code == 0, err
    written = (tmp_path / "whole.digests.ndjson").read_text().splitlines()
    digests = [json.loads(line) for line in written]
    assert [d["digest"]["window"][14:16] for d in digests] == ["00", "01", "02"]

    same = await command("verify", *["whole.digests.ndjson"] * 2, cwd=tmp_path)
    assert same[:2] == (0, "identical: 1 symbols, 3 windows\n")
    code, out, _ = await command(
        "verify", "whole.digests.ndjson", "torn.digests.ndjson", cwd=tmp_path
    )
    assert code == 1
    assert out.startswith("BTC-USD: the window 2026-01-05T14:02:00.000Z is the first that differs")
    code, _, err = await command("verify", "whole.ndjson", "nowhere", cwd=tmp_path)
    assert code == 1
    assert err.startswith("volsvc: error: whole.ndjson:1: has no symbol and digest")

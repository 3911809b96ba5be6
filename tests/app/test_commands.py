"""Commands other than `run`, as a user runs them."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tests.daemon import clean_environment, command
from tests.made import features
from volsvc.cli.main import cli


async def test_generate(tmp_path: Path) -> None:
    """The same seed writes the same file, with the true volatility of every tick."""
    for name, seed in (("a.csv", "7"), ("b.csv", "7"), ("c.csv", "8")):
        arguments = ("--minutes", "5", "--seed", seed, "--symbols", "BTC-USD,X-USD")
        code, out, err = await command("generate", "--out", name, *arguments, cwd=tmp_path)
        assert (code, out) == (0, "")
        assert "done" in err
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "a.csv").read_bytes() != (tmp_path / "c.csv").read_bytes()
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["symbol"] for row in rows} == {"BTC-USD", "X-USD"}
    assert "2026-01-05T00:04:" in rows[-1]["time"]
    assert all(0 < float(row["true_sigma"]) < 0.01 for row in rows)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


async def test_features_in_every_format(minutes: Path, tmp_path: Path) -> None:
    """CSV, NDJSON and Parquet files hold the same rows, to the last bit."""
    for name in ("f.csv", "f.ndjson.zst", "f.parquet"):
        code, _, err = await command("features", str(minutes), "--out", name, cwd=tmp_path)
        assert code == 0, err
    from pyarrow import parquet

    from volsvc.sources.recordings.tables.formats import open_raw, text_of

    with (tmp_path / "f.csv").open() as file:
        rows = list(csv.DictReader(file))
    packed = tmp_path / "f.ndjson.zst"
    with text_of(open_raw(packed, "r"), packed, "r") as text:
        objects = [json.loads(line) for line in text]
    table = parquet.read_table(tmp_path / "f.parquet").to_pylist()
    assert objects == table
    assert [{k: str(v) for k, v in row.items()} for row in objects] == rows
    assert list(rows[0]) == ["symbol", "time", "price", "ret_mean", "ret_std", "n"]
    assert all(math.isfinite(row["ret_std"]) for row in objects)


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("generate", "--out", "none/x.csv"), 1, "no folder none"),
        (("generate", "--out", "x.txt"), 1, "extension"),
        (("generate", "--out", "x.csv", "--start", "soon"), 2, "--start: 'soon'"),
        (("generate", "--out", "x.csv", "--symbols", ","), 2, "--symbols"),
        (("generate", "--out", "x.csv", "--symbols", "a b"), 1, "'a b'"),
        (("generate", "--out", "x.csv", "--minutes", "-1"), 2, "--minutes"),
        (("features", "none.csv", "--out", "x.csv"), 1, "none.csv"),
        (("replay", "none.csv"), 1, "none.csv"),
        (("run", "--path", "none.csv", "--port", "0"), 1, "none.csv"),
        (
            ("evaluate", "--data", ".", "--start", "2026-01-01", "--anchors", "EWMA"),
            2,
            "one of HAR",
        ),
        (("simulate", "--script", "none.toml"), 1, "none.toml"),
        (("simulate", "--file", "none.csv"), 1, "none.csv"),
        (("simulate", "--port", "70000"), 2, "--port"),
        (("record", "--out", "none/t.csv"), 1, "no folder none"),
        (("record", "--out", "t.xls"), 1, "extension"),
        (("record", "--out", "t.csv", "--symbols", "a b"), 2, "'a b'"),
        (("record", "--out", "t.csv", "--ws-url", "http://x"), 2, "source.ws_url"),
        (("record", "--out", "t.csv", "--source", "binance"), 2, "binance"),
        (("run", "--source", "coinbase", "--symbols", "a b", "--port", "0"), 2, "'a b'"),
        (("run", "--source", "binance"), 2, "source.kind"),
        (("drift", "--current", "none.csv", "--start", "2026-01-01"), 2, "--start"),
        (
            ("drift", "--reference", "a.npz", "--current", "b.csv", "--start", "soon"),
            2,
            "saved one",
        ),
    ],
    ids=range(22),
)
async def test_mistakes(arguments: tuple[str, ...], code: int, fault: str, tmp_path: Path) -> None:
    """A mistake gives one line that names it, and leaves no file behind."""
    found, out, err = await command(*arguments, cwd=tmp_path)
    assert (found, out) == (code, "")
    (line,) = err.strip().splitlines()
    assert fault in line
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_help() -> None:
    """Help names the commands of a group, and what each does fits its line."""

    def visit(words: tuple[str, ...], group: Any) -> int:
        shown = CliRunner().invoke(cli, [*words, "--help"])
        assert shown.exit_code == 0
        assert not re.search(r"\w\.\.\.$", shown.output, re.MULTILINE), "too long for its line"
        inner = getattr(group, "commands", {})
        assert all(re.search(rf"^\W*{name}\b", shown.output, re.MULTILINE) for name in inner)
        return 1 + sum(visit((*words, name), one) for name, one in inner.items())

    assert visit((), get_command(cli)) > 20


async def test_printed_things(tmp_path: Path) -> None:
    """Commands, settings, OpenAPI document and version are printed."""
    code, out, _ = await command(cwd=tmp_path)
    assert code == 0
    assert "generate" in out
    env = {"VOLSVC_KAFKA__SECURITY__PASSWORD": "hush-hush"}
    code, out, err = await command("config", env=env, cwd=tmp_path)
    assert json.loads(out)["replay"]["speed"] == 1
    assert "hush" not in out + err
    assert json.loads((await command("openapi", cwd=tmp_path))[1])["openapi"] == "3.1.0"
    assert (await command("version", cwd=tmp_path))[1].startswith("volsvc ")


def test_a_command_takes_one_processor(tmp_path: Path) -> None:
    """The threads of numpy and scikit-learn are bounded; `OMP_NUM_THREADS` changes the bound."""
    program = """
import contextlib, sys
sys.argv = ["volsvc", "version"]
from volsvc.cli.main import main
with contextlib.suppress(SystemExit):
    main()
import sklearn.ensemble
from threadpoolctl import threadpool_info
print(*{pool["num_threads"] for pool in threadpool_info()})
"""
    for given, expected in (({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")):
        env = {k: v for k, v in clean_environment().items() if k != "OMP_NUM_THREADS"}
        done = subprocess.run(
            (sys.executable, "-c", program),
            env=env | given,
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout.splitlines()[-1] == expected


async def test_a_file_whose_name_is_not_unicode(minutes: Path, tmp_path: Path) -> None:
    """It is read and written like any other."""
    name = os.fsdecode(b"t\xff")
    (tmp_path / f"{name}.ndjson").symlink_to(minutes)
    arguments = ("features", f"{name}.ndjson", "--out", f"{name}.csv")
    code, _, err = await command(*arguments, cwd=tmp_path)
    assert code == 0, err
    assert (tmp_path / f"{name}.csv").read_bytes() == features(minutes, "csv")[0].read_bytes()

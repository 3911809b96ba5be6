"""The summary of what was read, and `inspect`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volsvc.commands.digests import digests_file
from volsvc.commands.files import features_file
from volsvc.commands.forecasting import ForecastOptions, forecast_file
from volsvc.commands.reading import inspect_files
from volsvc.config.settings import Settings, SettingsError, load_settings
from volsvc.domain import SourceError

START_S = 1_767_571_200
LINES = [f"{START_S + i},BTC-USD,{100 + i % 7},{i}" for i in range(40)]
HEAD = "time,symbol,price,trade_id"


def set_by(**source: object) -> Settings:
    return load_settings(None, {"source": source})


def summary_of(path: Path, capsys: pytest.CaptureFixture[str], **source: object) -> dict[str, Any]:
    """Return the summary of `features` on a file."""
    features_file(set_by(**source), [path], path.with_name("out.csv"), "json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def accounted(rows: dict[str, int]) -> int:
    return sum(count for name, count in rows.items() if name != "read")


EDITS = st.lists(
    st.tuples(
        st.integers(0, len(LINES) - 1),
        st.sampled_from(
            [
                "twice",
                "back",
                "cut",
                "bad time",
                "bad price",
                "quote",
                "other",
                "long",
                "nul",
                "bytes",
            ]
        ),
    ),
    max_size=12,
)


def edited(line: str, edit: str) -> list[str]:
    """Return a line with a fault."""
    time, symbol, price, trade_id = line.split(",")
    return {
        "twice": [line, line],
        "back": [f"{int(time) - 9},{symbol},{price},"],
        "cut": [line[:-7]],
        "bad time": [f"soon,{symbol},{price},1"],
        "bad price": [f"{time},{symbol},-1,1"],
        "quote": [f'{time},"{symbol},{price},1'],
        "other": [f"{time},DOGE-USD,{price},{trade_id}"],
        "long": [f"{time},{symbol},{price},{'9' * 300_000}"],
        "nul": [f"{time},{symbol},\x00,1"],
        "bytes": [f"{time},BTC\udcff,{price},1"],
    }[edit]


@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(EDITS)
def test_no_row_is_lost_silently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], edits: list[tuple[int, str]]
) -> None:
    """Rows read are taken, late, duplicate, left out or refused, and the summary says each."""
    by_line = dict(edits)
    lines = [
        new
        for at, line in enumerate(LINES)
        for new in (edited(line, by_line[at]) if at in by_line else [line])
    ]
    path = tmp_path / "t.csv"
    path.write_bytes("\n".join([HEAD, *lines]).encode("utf-8", "surrogateescape"))
    found = summary_of(path, capsys, symbols=["BTC-USD"])
    rows = found["rows"]
    assert rows["read"] == accounted(rows) == len(lines)
    assert rows["refused"] == sum(found["refused"].values())
    assert set(found["examples"]) == set(found["refused"])
    assert rows["left_out"] == sum(",DOGE-USD," in line for line in lines)
    assert rows["taken"] == len((tmp_path / "out.csv").read_text().splitlines()) - 1


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(st.data())
def test_damage_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    """Whatever happens to the bytes of a file, each line is a row of the summary, or an error."""
    raw = bytearray("\n".join([HEAD, *LINES]).encode())
    for at in data.draw(st.lists(st.integers(len(HEAD) + 1, len(raw) - 1), max_size=6)):
        raw[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "t.csv"
    path.write_bytes(raw)
    rows = summary_of(path, capsys)["rows"]
    lines = [line for line in bytes(raw).splitlines()[1:] if line.strip()]
    assert rows["read"] == accounted(rows) == len(lines)


def test_the_text_names_faults_and_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line has the counts, the first fault, and that the newest row comes first."""
    path = tmp_path / "t.csv"
    path.write_text("\n".join([HEAD, *reversed(LINES), "x,BTC-USD,1,2"]))
    features_file(set_by(), [path], tmp_path / "o.csv", "text")
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("41 rows read: 1 taken, 39 late, 0 duplicate, 1 refused; the newest row")
    assert f"{path}, line 42: field 'time': 'x' is neither" in line


def test_a_wrong_time_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One row that is ahead makes all that follow late; the summary says which."""
    path = tmp_path / "t.csv"
    lines = [HEAD, *LINES]
    lines[5] = f"{START_S + 7200},BTC-USD,100,4"
    path.write_text("\n".join(lines))
    features_file(set_by(), [path], tmp_path / "o.csv", "text")
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("40 rows read: 5 taken, 35 late")
    assert line.endswith(f"35 of the late ones are behind {path}, line 6: is its time wrong?")


def test_the_last_print_is_not_taken_unseen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A price that no later one confirms gives no row, and is counted."""
    path = tmp_path / "t.csv"
    path.write_text("\n".join([HEAD, *LINES, f"{START_S + 50},BTC-USD,3,99"]))
    found = summary_of(path, capsys)
    assert (found["rows"]["taken"], found["refused"]) == (40, {"bad_print": 1})
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 41


def test_a_recording_is_not_replaced_by_its_features(tmp_path: Path) -> None:
    """The output is none of the files that are read."""
    path = tmp_path / "t.csv"
    path.write_text("\n".join([HEAD, *LINES]))
    options = ForecastOptions([tmp_path], path, 60, (60.0,), "baseline", "text")
    commands: list[Callable[[], None]] = [
        lambda: features_file(set_by(), [path], path, "text"),
        lambda: digests_file(set_by(), [path], path),
        lambda: forecast_file(set_by(), options),
    ]
    for command in commands:
        with pytest.raises(SettingsError, match="is one of the files to read"):
            command()
    assert path.read_text().splitlines() == [HEAD, *LINES]


BARS = "\n".join(
    ["time,open,high,low,close,volume"]
    + [f"{START_S + 60 * i},{9 + i % 2},11,8,{9 + i % 3},1" for i in range(300)]
)


def test_forecasts_of_bars_say_what_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad bar costs itself, and the summary says which."""
    path = tmp_path / "BTC-USD.csv"
    path.write_text(f"{BARS}\n{START_S + 60 * 300},1,1,2,1,1\n")
    options = ForecastOptions([path], tmp_path / "o.csv", 600, (300.0,), "baseline", "json")
    forecast_file(set_by(), options)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["rows"]["taken"], found["refused"]) == (300, {"high_below_low": 1})
    assert found["symbols"] == {"BTC-USD": 300}
    assert found["files"][0]["time"] == "epoch s"


def test_inspect_shows_how_files_are_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ticks and bars: format, columns, times, symbols, span, rows, and the first of them."""
    (tmp_path / "BTC-USD.csv").write_text(BARS)
    (tmp_path / "t.dat").write_text("\n".join([HEAD, *LINES]).replace(",", ";"))
    inspect_files(set_by(), sorted(tmp_path.iterdir()), "text")
    text = capsys.readouterr().out
    assert f"{tmp_path / 'BTC-USD.csv'}: bars in csv, separated by ','" in text
    assert f"{tmp_path / 't.dat'}: ticks in csv, separated by ';'" in text
    assert "columns: time, symbol, price, trade_id; times are epoch s" in text
    assert "symbols: BTC-USD (340)" in text
    assert "span: 2026-01-05T00:00:00.000Z to 2026-01-05T04:59:00.000Z" in text
    assert "340 rows read: 340 taken" in text
    inspect_files(set_by(), [tmp_path / "t.dat"], "json")
    found = json.loads(capsys.readouterr().out)
    assert found["first_rows"][1] == {
        "symbol": "BTC-USD",
        "time": "2026-01-05T00:00:01.000Z",
        "price": 101.0,
        "trade_id": 1,
    }


def test_columns_and_times_that_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file without names, and one with days first, are read as they are said to be."""
    path = tmp_path / "t.csv"
    path.write_text("x;05/01/2026 00:00:07;100,5;BTC-USD\ny;05/01/2026 00:00:08;101,5;BTC-USD\n")
    given_names = {"columns": ["note", "time", "price", "symbol"]}
    inspect_files(set_by(**given_names, time_format="%d/%m/%Y %H:%M:%S"), [path], "json")
    first, second = json.loads(capsys.readouterr().out)["first_rows"]
    assert (first["time"], first["price"]) == ("2026-01-05T00:00:07.000Z", 100.5)
    assert second["time"] == "2026-01-05T00:00:08.000Z"
    with pytest.raises(SourceError, match=r"--time-format '%d/%m/%Y %H:%M:%S'"):
        inspect_files(set_by(**given_names), [path], "json")
    with pytest.raises(SourceError, match=r"--columns: names 5 columns, but .* has 4 cells"):
        inspect_files(set_by(columns=["a", "time", "price", "symbol", "b"]), [path], "json")
    with pytest.raises(SourceError, match=r"--columns: missing column 'price'"):
        inspect_files(set_by(columns=["time"]), [path], "json")

"""The live page's view of the past: ranges, zoom, forecasts against what came, the track record."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Response, expect

from tests.browser.conftest import Watched
from tests.browser.served import Served, in_process, in_thread
from tests.browser.test_page import COLOURS, PHONE, findings
from tests.needs import ROOT
from tests.waiting import until
from volsvc.commands.files import generate_file
from volsvc.domain import NS, format_time, parse_time

Open = Callable[..., Watched]
SYMBOL = "BTC-USD"
HOUR_NS, DAY_NS = 3_600 * NS, 86_400 * NS
YEAR_S = 31_557_600
MOST_ROWS = 1_503
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
NUMBER = r"([\d.,]+)"
SAID = re.compile(
    rf"price {NUMBER} · forecast {NUMBER} %, band {NUMBER} {DASH} {NUMBER} %, by (\S+)"
    rf" · came {NUMBER} %"
)
# Ranges of the page, and the step of a market with a past of two weeks.
STEPS = {"1h": "1 min", "6h": "1 min", "1d": "1 min", "7d": "10 min", "30d": "15 min"}


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon on the generator, whose markets have a past of two weeks."""
    with in_thread(tmp_path_factory.mktemp("var"), {}) as served:
        until(lambda: SYMBOL in known(served), 20, "the first tick")
        until(lambda: bool(minutes(served, "step=1h")), 20, "the past is written")
        yield served


def known(served: Served) -> list[str]:
    return [latest["symbol"] for latest in served.ask("/latest")["symbols"]]


def minutes(served: Served, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = served.ask(f"/history/{SYMBOL}?{query}")["rows"]
    return rows


def newest_ns(served: Served) -> int:
    """Return the end of the newest whole minute."""
    time_ns = parse_time(served.ask(f"/latest/{SYMBOL}")["as_of"])
    return time_ns - time_ns % (60 * NS)


# The share of pixels of the translucent blue of bands.
BAND = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4) {
    const [red, , blue, alpha] = data.subarray(at, at + 4);
    if (Math.abs(alpha - 38) <= 3 && blue > red + 90) found += 1;
  }
  return found / (canvas.width * canvas.height);
}"""


# The number of pixels of the price's line between two shares of the width.
INK = """(canvas, [from, to]) => {
  const [left, width] = [from * canvas.width, (to - from) * canvas.width].map(Math.round);
  const { data } = canvas.getContext("2d").getImageData(left, 0, width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4) if (data[at] < 50 && data[at + 3] > 200) found += 1;
  return found;
}"""


def spoken(page: Page, key: str) -> str:
    """Return the text of the charts' cursor after a key."""
    cursor = page.locator("#cursor")
    cursor.press(key)
    return cursor.get_attribute("aria-valuetext") or ""


def shown(page: Page, key: str = "Home") -> list[str]:
    """Wait until the cursor has price, forecast and outcome after a key; return what is said."""
    until(lambda: SAID.search(spoken(page, key)) is not None, 20, lambda: spoken(page, key))
    match = SAID.search(spoken(page, key))
    assert match is not None
    return [text.replace(",", "") for text in match.groups()]


def near_the_end(page: Page) -> str:
    """Return the text of the cursor a step before the newest tick, wherever it was."""
    page.locator("#filter").focus()
    return spoken(page, "ArrowLeft")


def choose(page: Page, name: str) -> None:
    page.locator(f"[name=range][value='{name}']").check()


def note(page: Page, text: str) -> None:
    expect(page.locator("#past-note")).to_have_text(text)


def part(start_ns: int, end_ns: int) -> str:
    """Return a part of the past as an address has it."""
    return f"from={format_time(start_ns)[:16]}Z&to={format_time(end_ns)[:16]}Z"


def test_a_week_at_once(tmp_path: Path, open_page: Open) -> None:
    """Started as `make run` does, with nothing kept, the page has a week from its first seconds."""
    arguments = ("--config", str(ROOT / "config.toml"), "--port", "0")
    with in_process(tmp_path, *arguments, env={}) as served:
        page = open_page(served.url).page
        until(lambda: SAID.search(spoken(page, "Home")) is not None, 5, "a week of forecasts")
        note(page, "One point each 10 min.")
        expect(page.locator("#change")).to_contain_text("in 7 d")
        assert page.locator("#plot-vol canvas").evaluate(BAND) > 0.03
        week_ago = newest_ns(served) - 7 * DAY_NS
        said = spoken(page, "Home")
        assert said[:5] in {format_time(week_ago + minute)[5:10] for minute in (0, 60 * NS)}, said


@pytest.mark.parametrize("horizon", [60, 3_600])
def test_numbers_are_those_of_the_store(remembering: Served, open_page: Open, horizon: int) -> None:
    """A forecast and what came of it stand at the end of its horizon, a price at its own time."""
    at = newest_ns(remembering) - DAY_NS
    issued = at - horizon * NS
    fields = ",".join(f"{name}_{horizon}s" for name in ("sigma", "lo", "hi", "realised"))
    query = f"step=1m&fields=close,model_variant,version,{fields}&end={at}"
    rows = {row["time"]: row for row in minutes(remembering, f"{query}&start={issued - 60 * NS}")}
    row = rows[format_time(issued)]
    address = f"{remembering.url}/#{SYMBOL}?horizon={horizon}&{part(at, at + 2 * HOUR_NS)}"
    price, *said = shown(open_page(address).page)
    assert float(price) == pytest.approx(rows[format_time(at)]["close"], abs=0.006)
    assert said.pop(3) == f"{row['model_variant']}-{row['version']}"
    yearly = [100 * row[name] * math.sqrt(YEAR_S / horizon) for name in fields.split(",")]
    assert [float(number) for number in said] == pytest.approx(yearly, rel=6e-3)


@pytest.mark.parametrize("name", STEPS)
def test_ranges(remembering: Served, open_page: Open, name: str) -> None:
    """A button loads and draws its range, in a step of which the answers are small."""
    other = "6h" if name == "1h" else "1h"
    page = open_page(f"{remembering.url}/#{SYMBOL}?range={other}").page
    note(page, "One point each 1 min.")
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer) if "step=" in answer.url else None)
    choose(page, name)
    note(page, f"One point each {STEPS[name]}.")
    width = {"h": HOUR_NS, "d": DAY_NS}[name[-1]] * min(int(name[:-1]), 14)

    def begins() -> bool:
        # On both sides of a new hour or day, and of what is kept of a longer range.
        near = [format_time(newest_ns(remembering) - width + s * NS) for s in (-60, 600)]
        starts = [text for time in near for text in (time[5:10], time[11:14])]
        return spoken(page, "Home").startswith(tuple(starts))

    until(begins, 20, lambda: spoken(page, "Home"))
    shown(page)
    for plot in ("#plot-price", "#plot-vol"):
        canvas = page.locator(f"{plot} canvas")
        until(lambda canvas=canvas: int(canvas.evaluate(COLOURS)) > 20, 5, f"{plot} is drawn")  # type: ignore[misc]
    assert answers
    assert all(0 < len(answer.json()["rows"]) <= MOST_ROWS for answer in answers)
    kept = f"#{SYMBOL}" if name == "7d" else f"#{SYMBOL}?range={name}"
    assert page.url.endswith(kept)
    page.reload()
    note(page, f"One point each {STEPS[name]}.")


def test_a_choice_ends_the_request_before(remembering: Served, open_page: Open) -> None:
    """The request of a range is given up when another one is chosen."""
    page = open_page(f"{remembering.url}/#{SYMBOL}").page
    note(page, "One point each 10 min.")
    page.route(re.compile("step=1800&"), lambda route: None)  # never answered
    with page.expect_request(re.compile("step=1800&")) as begun:
        choose(page, "30d")
    with page.expect_event("requestfailed", lambda request: request == begun.value):
        choose(page, "6h")
    note(page, "One point each 1 min.")


def drag(page: Page, begin: float, end: float) -> None:
    """Drag over the charts, between two shares of their width."""
    cursor = page.locator("#cursor")
    cursor.scroll_into_view_if_needed()
    box = cursor.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + begin * box["width"], box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], box["y"] + 90, steps=3)
    page.mouse.up()


def test_zoom_by_mouse(remembering: Served, open_page: Open) -> None:
    """A drag shows a part in a finer step, which the address keeps; two clicks go back."""
    page = open_page(f"{remembering.url}/#{SYMBOL}").page
    note(page, "One point each 10 min.")
    drag(page, 0.5, 0.3)
    note(page, "One point each 2 min.")
    zoomed = page.url
    assert "from=" in zoomed
    first = spoken(page, "Home")
    page.locator("#cursor").dblclick(position={"x": 300, "y": 60})
    note(page, "One point each 10 min.")
    assert page.url.endswith(f"#{SYMBOL}")
    page.goto(zoomed)
    note(page, "One point each 2 min.")
    shown(page)
    # The address has whole minutes.
    assert spoken(page, "Home")[:9] == first[:9]


def test_zoom_by_keyboard_and_buttons(remembering: Served, open_page: Open) -> None:
    """Plus, minus, shift with arrows and escape do on the charts what the buttons do."""
    page = open_page(f"{remembering.url}/#{SYMBOL}").page
    note(page, "One point each 10 min.")
    cursor = page.locator("#cursor")
    ways: list[list[Callable[[], None]]] = [
        [lambda key=key: cursor.press(key) for key in ("+", "Shift+PageDown", "Escape")],  # type: ignore[misc]
        [
            lambda name=name: page.locator(f"[data-zoom={name}]").click()  # type: ignore[misc]
            for name in ("in", "earlier", "back")
        ],
    ]
    for narrower, earlier, back in ways:
        narrower()
        note(page, "One point each 5 min.")
        near = page.url
        earlier()
        expect(page).not_to_have_url(near)
        assert "from=" in page.url
        shown(page)
        back()
        note(page, "One point each 10 min.")
    cursor.press("+")
    cursor.press("-")
    expect(page).to_have_url(re.compile(f"#{SYMBOL}$"))
    cursor.press("-")
    expect(page.locator("[name=range][value='30d']")).to_be_checked()


def test_fingers_scroll(remembering: Served, open_page: Open) -> None:
    """On the charts a finger scrolls the page and moves the cursor, and never zooms."""
    page = open_page(f"{remembering.url}/#{SYMBOL}", **PHONE).page
    note(page, "One point each 10 min.")
    page.locator("#cursor").scroll_into_view_if_needed()
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *at: tuple[int, int]) -> None:
        points = [{"x": x, "y": y} for x, y in at]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (100, 600))
    for x in range(120, 260, 20):
        touch("touchMove", (x, 600))
    expect(page.locator("#readout")).to_contain_text("forecast")
    touch("touchEnd")
    before = page.evaluate("scrollY")
    touch("touchStart", (200, 600))
    for y in range(580, 300, -20):
        touch("touchMove", (200, y))
    touch("touchEnd")
    until(lambda: page.evaluate("scrollY") > before + 100, 5, "the page scrolls")
    assert "from=" not in page.url


def test_a_short_range_is_live(remembering: Served, open_page: Open) -> None:
    """The stream alone extends the newest end of an hour."""
    page = open_page(f"{remembering.url}/#{SYMBOL}?range=1h").page
    note(page, "One point each 1 min.")
    shown(page)
    page.route(re.compile("/history/"), lambda route: route.abort())
    canvas = page.locator("#plot-price canvas")
    before = canvas.evaluate("(node) => node.toDataURL()")
    until(lambda: canvas.evaluate("(node) => node.toDataURL()") != before, 20, "it moves on")


@pytest.mark.parametrize(
    "options", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"]
)
def test_track_record(remembering: Served, open_page: Open, options: dict[str, Any]) -> None:
    """The tab has the numbers of /track-record by day as charts and as a table."""
    page = open_page(f"{remembering.url}/#{SYMBOL}", **options).page
    note(page, "One point each 10 min.")
    page.get_by_role("tab", name="Charts").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Track record")).to_be_focused()
    expect(page.locator("#plot-vol")).to_be_hidden()
    page.get_by_text("By day and by score as tables").click()
    # The present day goes on; the one before is complete.
    record = remembering.ask(f"/track-record?symbol={SYMBOL}&horizon=1m&days=30")["horizons"][0]
    day = record["days"][-2]
    losses = [day["qlike"][name]["mean"] for name in ("ml", "baseline", "ewma")]
    cells = page.locator("#track-days tbody tr").nth(1).locator("th, td")
    expect(cells.first).to_have_text(day["day"][5:])
    told = [text.replace(",", "").replace(MINUS, "-") for text in cells.all_inner_texts()[1:]]
    expected = [day["n"], 100 * day["coverage"], *losses, 100 * (1 - losses[0] / losses[2])]
    digits = [0, 0, 3, 3, 3, 0]
    for text, value, places in zip(told, expected, digits, strict=True):
        assert float(text.rstrip(" %")) == pytest.approx(value, abs=0.51 * 10**-places)
    expect(page.locator("#track-total dd").nth(1)).to_contain_text("%")
    assert page.locator("#track-bins tbody tr").count() > 1
    for plot in ("#plot-skill", "#plot-coverage", "#plot-reliability"):
        assert int(page.locator(f"{plot} canvas").evaluate(COLOURS)) > 5
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.reload()
    expect(page.locator("#track-total dd").nth(1)).to_contain_text("%")


def test_it_says_when_nothing_is_kept(tmp_path: Path, open_page: Open) -> None:
    """Without a store the charts are of the stream alone, and both tabs say why."""
    with in_thread(tmp_path, {"store": {"enabled": False}, "replay": {"speed": 40}}) as served:
        page = open_page(served.url).page
        expect(page.locator("#past-note")).to_contain_text("store.enabled is false")
        until(lambda: SAID.search(near_the_end(page)) is not None, 20, "outcomes of the stream")
        page.get_by_role("tab", name="Track record").click()
        expect(page.locator("#track-note")).to_contain_text("store.enabled is false")
        expect(page.locator("#track")).to_be_hidden()


@contextmanager
def replaying(folder: Path, day: str) -> Iterator[Served]:
    """A daemon that replays a recording to which twenty minutes of another day are added."""
    recording, added, start = folder / "ticks.csv", folder / f"{day}.csv", f"{day}T14:00:00Z"
    generate_file(added, minutes=20, seed=3, symbols=(SYMBOL,), start=start)
    lines = added.read_text().splitlines(keepends=True)
    with recording.open("a") as file:
        file.writelines(lines[1:] if recording.stat().st_size else lines)
    settings = {"source": {"path": str(recording)}, "replay": {"speed": "max"}}
    with in_thread(folder / "var", settings) as served:
        until(lambda: SYMBOL in known(served), 20, "the first tick")
        until(lambda: len(minutes(served, f"start={start}")) > 15, 20, "the minutes are written")
        yield served


def test_yesterday_after_a_restart(tmp_path: Path, open_page: Open) -> None:
    """A daemon that is started a day later has the day before, and the hole between them."""
    with replaying(tmp_path, "2026-01-05"):
        pass
    with replaying(tmp_path, "2026-01-06") as served:
        page = open_page(served.url).page
        until(lambda: spoken(page, "Home").startswith("01-05 14:0"), 20, "the day before")
        assert "price" in spoken(page, "Home")
        said = [spoken(page, "PageUp") for _ in range(3)]
        assert re.fullmatch("01-06 0[12]:.. UTC", said[-1]), said
        assert "forecast" in spoken(page, "End")
        page.locator("#filter").focus()  # the cursor leaves
        price = page.locator("#plot-price canvas")
        assert price.evaluate(INK, [0, 0.1]) > 0
        assert price.evaluate(INK, [0.2, 0.7]) == 0

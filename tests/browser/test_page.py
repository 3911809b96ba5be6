"""The live page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Watched, until_replayed
from tests.browser.served import Served, ServedHere, in_thread
from tests.waiting import until
from volsvc.web.auth.api_keys import new_key

Open = Callable[..., Watched]
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def ready(page: Page) -> Page:
    """Return the page once it shows every symbol."""
    expect(page.locator("#rows tr")).to_have_count(len(SYMBOLS))
    expect(page.locator("#connection")).not_to_have_text("Connecting")
    expect(page.locator("#model dd").first).to_be_visible()
    return page


def row_of(page: Page, symbol: str) -> Locator:
    return page.locator(f"#rows tr[data-symbol='{symbol}']")


def value_of(cell: Locator) -> float:
    return float(cell.get_attribute("data-value") or "nan")


def test_it_loads_from_the_service_alone(replayed: Served, open_page: Open) -> None:
    """The page is small, sends no request to another host, and has no blocked request or error."""
    watched = open_page(replayed.url)
    page = ready(watched.page)
    for name in ("Forecast", "Serve ml"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    assert watched.asked
    assert all(url.startswith(replayed.url + "/") for url in watched.asked), watched.asked
    assert watched.complaints == []


def test_numbers_are_those_of_latest(replayed: Served, open_page: Open) -> None:
    """Price, volatilities, score and quality in the table and beside the charts equal /latest."""
    page = ready(open_page(replayed.url).page)
    symbols = replayed.ask("/latest")["symbols"]
    assert [latest["symbol"] for latest in symbols] == list(SYMBOLS)
    for latest in symbols:
        row = row_of(page, latest["symbol"])
        assert value_of(row.locator(".c-price")) == latest["price"]
        assert value_of(row.locator(".c-score")) == latest["score"]
        for said in latest["predictions"]:
            cell = row.locator(f".c-sigma-{said['horizon_s']:.0f}")
            assert value_of(cell) == said["sigma_annualised"]
            assert float(cell.inner_text().rstrip(" %").replace(",", "")) == pytest.approx(
                said["sigma_annualised"] * 100, rel=6e-3
            )
        assert latest["quality"]["verdict"] in row.locator(".c-quality").inner_text()
        row.locator("button").click()
        expect(page.locator("#symbol")).to_have_text(latest["symbol"])
        assert value_of(page.locator("#price")) == latest["price"]
        shown = page.locator("#forecast tbody tr")
        expect(shown).to_have_count(len(latest["predictions"]))
        expect(shown.first).to_contain_text(f"{latest['score'] * 100:.0f} %")


def test_how_forecasts_did(replayed: Served, open_page: Open) -> None:
    """Coverage, QLIKE of both variants and the count equal /quality; outcomes are listed."""
    page = ready(open_page(f"{replayed.url}/#ETH-USD").page)
    expect(page.locator("#symbol")).to_have_text("ETH-USD")
    rows = replayed.ask("/quality?symbol=ETH-USD")["symbols"]
    ml, base = (
        next(r for r in rows if r["variant"] == v and r["horizon_s"] == 60)
        for v in ("ml", "baseline")
    )
    shown = page.locator("#record tbody tr").first.locator("th, td")
    expect(shown).to_have_text(
        [
            "1 min",
            f"{ml['coverage'] * 100:.0f} %",
            f"{ml['qlike']:.3f}",
            f"{base['qlike']:.3f}",
            f"{ml['skill'] * 100:.0f} %".replace("-", "\N{MINUS SIGN}"),
            str(ml["n"]),
        ]
    )
    page.locator("#outcomes summary").click()
    judged = replayed.ask("/history/ETH-USD?limit=1000")["outcomes"]
    of_ml = [o for o in judged if o["model_variant"] == "ml" and o["horizon_s"] == 60]
    newest = page.locator("#outcomes tbody tr").first
    expect(newest.locator("th")).to_have_text(of_ml[-1]["matured"][11:19])


COLOURS = """(canvas) => {
  const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(image.data.buffer)).size;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("plot", ["#plot-price", "#plot-vol"])
def test_charts_show_something(replayed: Served, open_page: Open, scheme: str, plot: str) -> None:
    """Return whether a chart has more than a few colours."""
    canvas = ready(open_page(replayed.url, color_scheme=scheme).page).locator(f"{plot} canvas")
    until(lambda: int(canvas.evaluate(COLOURS)) > 20, 5, f"{plot} is drawn")


def test_sort_and_filter(replayed: Served, open_page: Open) -> None:
    """Rows are sorted by the chosen column; the filter hides rows and shows their number."""
    page = ready(open_page(replayed.url).page)
    by_price = sorted(replayed.ask("/latest")["symbols"], key=lambda s: -s["price"])
    head = page.locator("th.c-price")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    names = [s["symbol"] for s in by_price]
    expect(page.locator("#rows th")).to_have_text(names)
    head.get_by_role("button").click()
    expect(page.locator("#rows th")).to_have_text(names[::-1])
    page.locator("#filter").fill("eth")
    expect(page.locator("#rows tr:visible")).to_have_count(1)
    expect(page.locator("#count")).to_have_text("1 of 3")
    page.locator("#filter").fill("nothing")
    expect(page.locator("#empty")).to_be_visible()


def test_a_swap_shows(replayed: Served, open_page: Open) -> None:
    """Every open page shows a change of the model: chip, panel and list of changes."""
    page = ready(open_page(replayed.url).page)
    for variant in ("baseline", "ml"):
        serving = replayed.ask("/models/active", "PUT", {"variant": variant})["serving"]["model"]
        expect(page.locator("#serving")).to_have_text(serving)
        expect(page.locator("#changes li").first).to_contain_text(serving)
        expect(page.locator("#model dd").first).to_have_text(serving)


def test_swaps_and_gaps_are_marked(replayed: ServedHere, open_page: Open) -> None:
    """An event while the page is open is a mark on the charts, and a line in the list."""
    page = ready(open_page(f"{replayed.url}/#BTC-USD").page)
    hub = replayed.daemon.services.hub
    replayed.call(lambda: hub.publish("gap", "BTC-USD", {"symbol": "BTC-USD", "trades": 7}))
    expect(page.locator("#changes li").first).to_contain_text("BTC-USD, 7 trades lost")
    assert "7 trades lost" in spoken_at_the_end(page)
    page.reload()
    ready(page)
    for variant in ("baseline", "ml"):
        replayed.ask("/models/active", "PUT", {"variant": variant})
    expect(page.locator("#changes li").first).to_contain_text("ml-")
    assert "serves (route)" in spoken_at_the_end(page)


def spoken_at_the_end(page: Page) -> str:
    """Return the text of the cursor at the newest tick."""
    cursor = page.locator("#cursor")
    cursor.focus()
    cursor.press("ArrowLeft")
    cursor.press("ArrowRight")
    return cursor.get_attribute("aria-valuetext") or ""


def test_the_switch_takes_two_clicks(replayed: Served, open_page: Open) -> None:
    """The first click asks for confirmation, the second switches; a rollback undoes it."""
    page = ready(open_page(replayed.url).page)
    switch = page.locator("[data-switch=baseline]")
    switch.click()
    expect(switch).to_have_text("Really?")
    assert replayed.ask("/models")["serving"]["variant"] == "ml"
    switch.click()
    expect(page.locator("#switch-note")).to_contain_text("baseline")
    assert replayed.ask("/models")["serving"]["variant"] == "baseline"
    back = page.locator("[data-switch=rollback]")
    back.click()
    back.click()
    expect(page.locator("#serving")).to_contain_text("ml-")
    assert replayed.ask("/models")["serving"]["variant"] == "ml"


def test_try_a_forecast(replayed: Served, open_page: Open) -> None:
    """The form shows the answer of /predict, or the fault of the input."""
    page = ready(open_page(f"{replayed.url}/#BTC-USD").page)
    page.get_by_role("button", name="Fill in the newest window").click()
    latest = replayed.ask("/latest/BTC-USD")
    assert float(page.locator("[name=ret_std]").input_value()) == latest["ret_std"]
    page.locator("[name=ret_std]").press("Enter")
    row = {name: latest[name] for name in ("ret_mean", "ret_std", "n", "span_s", "symbol")}
    said = replayed.ask("/predict", "POST", {"rows": [row], "horizon_s": 60})
    answer = page.locator("#try-answer")
    expect(answer).to_contain_text(f"{said['scores'][0] * 100:.1f} %")
    page.locator("[name=ret_std]").fill("-1")
    page.locator("[name=ret_std]").press("Enter")
    expect(answer).to_contain_text("#/rows/0/ret_std")


@pytest.fixture
def locked(tmp_path: Path, recording: Path) -> Iterator[tuple[Served, str, str]]:
    """A daemon that requires keys, with one of scope read and one with every scope."""
    made = [new_key(name, scopes) for name, scopes in KEYS.items()]
    entries = tmp_path / "keys.toml"
    entries.write_text("\n".join(entry for _, entry in made))
    settings: dict[str, dict[str, Any]] = {
        "source": {"path": str(recording)},
        "replay": {"speed": "max"},
        "auth": {"keys_file": str(entries)},
    }
    (reader, _), (admin, _) = made
    with in_thread(tmp_path / "var", settings, admin) as served:
        until(lambda: len(served.ask("/latest")["symbols"]) == len(SYMBOLS), 30, "every symbol")
        yield served, reader, admin


KEYS = {"reader": ("read",), "admin": ("read", "predict", "admin")}


def test_keys(locked: tuple[Served, str, str], open_page: Open) -> None:
    """Without a key the page asks for one, shows nothing before, and never puts it in a URL."""
    served, reader, admin = locked
    watched = open_page(served.url)
    page = watched.page
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(page.locator("#connection")).to_have_text("A key is needed")
    expect(page.locator("#rows tr")).to_have_count(0)
    page.locator("#key").fill(reader)
    page.locator("#key").press("Enter")
    ready(page)
    switch = page.locator("[data-switch=baseline]")
    switch.click()
    switch.click()
    expect(dialog).to_contain_text("admin")
    page.locator("#key").fill(admin)
    page.locator("#key").press("Enter")
    ready(page)
    switch.click()
    switch.click()
    expect(page.locator("#serving")).to_contain_text("baseline")
    assert not any(key in url for key in (reader, admin) for url in watched.asked)
    assert page.evaluate("localStorage.length") == 0
    page.reload()
    ready(page)
    page.get_by_role("button", name="Key", exact=True).click()
    page.get_by_role("button", name="Forget it").click()
    expect(page.locator("#connection")).to_have_text("A key is needed")
    assert page.evaluate("sessionStorage.length") == 0


def test_themes(replayed: Served, open_page: Open) -> None:
    """The page follows the system's colour scheme; the button overrides it, also after a reload."""
    page = ready(open_page(replayed.url, color_scheme="dark").page)
    light = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(light) == "rgb(12, 16, 21)"
    button = page.locator("#theme-button")
    button.click()
    expect(button).to_have_text("Theme: light")
    assert page.evaluate(light) == "rgb(244, 245, 247)"
    page.reload()
    assert page.evaluate(light) == "rgb(244, 245, 247)"
    page.locator("#theme-button").click()
    page.locator("#theme-button").click()
    expect(page.locator("#theme-button")).to_have_text("Theme: auto")
    page.emulate_media(color_scheme="light")
    assert page.evaluate(light) == "rgb(244, 245, 247)"


def test_phone(replayed: Served, open_page: Open) -> None:
    """On a phone nothing is wider than the screen, and each symbol has its main figures."""
    page = ready(open_page(replayed.url, **PHONE).page)
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        wide = page.evaluate(
            "[...document.querySelectorAll('body *')].filter((n) => n.checkVisibility()"
            " && !n.closest('.unseen, .skip, .scroll') && n.getBoundingClientRect().right"
            f" > {width} + 1).map((n) => n.outerHTML.slice(0, 90))"
        )
        assert wide == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    row = row_of(page, "BTC-USD")
    for column in ("symbol", "price", "sigma-60", "regime"):
        expect(row.locator(f".c-{column}")).to_be_visible()
    page.locator("[name=horizon]").last.tap()
    expect(row.locator(".c-sigma-3600")).to_be_visible()
    expect(row.locator(".c-sigma-60")).to_be_hidden()


WHERE = """() => {
  const node = document.activeElement;
  const style = getComputedStyle(node.type === 'radio' ? node.nextElementSibling : node);
  return { id: node.id || node.name || node.dataset.switch || node.textContent.trim(),
    tag: node.tagName, seen: style.outlineStyle !== 'none' || node.matches('a.skip') };
}"""


def test_keyboard(replayed: Served, open_page: Open) -> None:
    """Everything can be reached and used without a mouse, and the focus is visible."""
    page = ready(open_page(replayed.url).page)
    walked = []
    for _ in range(60):
        page.keyboard.press("Tab")
        walked.append(page.evaluate(WHERE))
        if walked[-1]["id"] == "OpenAPI":
            break
    names = [stop["id"] for stop in walked]
    order = ["Skip to the markets", "key-button", "theme-button", "horizon", "filter", "Price"]
    order += ["BTC-USD", "cursor", "baseline", "rollback", "ret_mean", "Forecast", "OpenAPI"]
    assert [name for name in names if name in order] == order, names
    assert all(stop["seen"] for stop in walked), [s for s in walked if not s["seen"]]


def test_keys_of_the_keyboard(replayed: Served, open_page: Open) -> None:
    """Slash focuses the filter; arrows move over rows, over horizons, and along the charts."""
    page = ready(open_page(f"{replayed.url}/#BTC-USD").page)
    page.keyboard.press("/")
    page.keyboard.type("usd")
    expect(page.locator("#filter")).to_have_value("usd")
    row_of(page, "BTC-USD").get_by_role("button").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#symbol")).to_have_text("ETH-USD")
    expect(row_of(page, "ETH-USD").get_by_role("button")).to_have_attribute("aria-pressed", "true")
    page.locator("[name=horizon]").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#vol-horizon")).to_contain_text("5 min")
    cursor = page.locator("#cursor")
    cursor.focus()
    page.keyboard.press("ArrowLeft")
    expect(cursor).to_have_attribute("aria-valuetext", re.compile("price.*forecast"))
    spoken = cursor.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowLeft")
    assert cursor.get_attribute("aria-valuetext") != spoken


@pytest.mark.parametrize(
    "options", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"]
)
def test_accessibility(replayed: Served, open_page: Open, options: dict[str, Any]) -> None:
    """axe-core has no finding, with the details open and with the dialog of the key."""
    page = ready(open_page(replayed.url, **options).page)
    page.locator("#outcomes summary").click()
    page.get_by_role("button", name="Forecast", exact=True).click()
    expect(page.locator("#try-answer dl")).to_be_visible()
    assert findings(page) == []
    page.get_by_role("button", name="Key", exact=True).click()
    assert findings(page) == []


def findings(page: Page) -> list[str]:
    """Return the findings of axe-core as text."""
    found = Axe().run(page).response["violations"]
    return [f"{v['impact']} {v['id']}: {[n['html'][:120] for n in v['nodes']]}" for v in found]


def test_it_says_when_it_is_stale(tmp_path: Path, recording: Path, open_page: Open) -> None:
    """The page shows by itself that no symbol has had an update for longer than allowed."""
    settings: dict[str, dict[str, Any]] = {
        "source": {"path": str(recording)},
        "replay": {"speed": "max"},
        "http": {"stale_after_s": 3},
    }
    with in_thread(tmp_path, settings) as served:
        page = open_page(served.url).page
        ready(page)
        until_replayed(served, recording)
        expect(page.locator("#connection")).to_have_text("Stale")
        expect(page.locator("#banner")).to_contain_text("quiet")
        expect(row_of(page, "BTC-USD").locator(".c-age")).to_contain_text("stale")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert findings(page) == [], "what is old can still be read"


def test_a_sleep_is_noticed(replayed: Served, open_page: Open) -> None:
    """A tab that slept longer than the service is ever silent resumes after its last event."""
    page = open_page("about:blank").page
    page.clock.install()
    page.goto(replayed.url)
    expect(page.locator("#connection")).to_have_text("Live")
    with page.expect_request(lambda request: "last-event-id" in request.headers) as asked:
        page.clock.fast_forward(60_000)
    assert asked.value.url == f"{replayed.url}/stream"
    expect(page.locator("#rows tr")).to_have_count(len(SYMBOLS))

// The selected symbol: its numbers, its panel of charts, and the outcomes of its newest forecasts.

import { byId, fill, row, setText } from "./dom.js";
import { age, band, clock, horizonName, percent, price, regimeOf, volatility, yearly } from "./format.js";
import { Panel } from "./panel.js";
import { showOutcomes, showRecord } from "./record.js";
import { Series } from "./series.js";
import { backfill } from "./store.js";

const REFRESH_MS = 20_000;
const LEAST_REFRESH_MS = 2_000;
const MOST_ROWS = 1_000;

export class Detail {
  constructor(store, api, onChoice) {
    this.store = store;
    this.api = api;
    this.series = null;
    this.quality = null;
    this.variant = "ml";
    this.refreshed = 0;
    this.minute = null;
    this.panel = new Panel(api, onChoice);
    byId("outcomes").addEventListener("toggle", () => this.#outcomes());
  }

  get symbol() {
    return this.series?.symbol ?? null;
  }

  get horizon() {
    return this.panel.charts.horizon;
  }

  async choose(symbol) {
    if (symbol === this.symbol) return;
    this.series = new Series(symbol);
    setText(byId("symbol"), symbol);
    this.panel.forget();
    const entry = this.store.get(symbol);
    if (entry) this.series.add(entry.latest);
    this.update();
    this.#record();
    await this.reload();
  }

  // Load what the service has of the past, and put it before the events received since.
  async reload() {
    await Promise.all([this.#loadRecent(), this.panel.load()]);
  }

  async #loadRecent() {
    const series = this.series;
    this.refreshed = Date.now();
    try {
      const history = await this.#history(series.symbol, MOST_ROWS);
      if (series !== this.series) return;
      series.load(history);
      const entry = this.store.get(series.symbol);
      if (entry) backfill(entry, history.forecasts);
      this.#draw();
      this.#outcomes();
    } catch {
      // Another instance owns the symbol, or the key lacks the scope: show events from now on only.
    }
  }

  // Add an event of the stream for this symbol.
  add(latest) {
    this.series.add(latest);
  }

  mark(kind, text) {
    if (this.series?.end) this.series.mark(this.series.end, kind, text);
    this.#draw();
  }

  setHorizon(seconds) {
    this.panel.setHorizon(seconds);
    this.update();
    this.#outcomes();
  }

  setVariant(variant) {
    this.variant = variant;
    this.#record();
    this.#draw();
  }

  setQuality(quality) {
    this.quality = quality;
    this.#record();
  }

  update() {
    const entry = this.store.get(this.symbol);
    if (!entry) return;
    const { latest } = entry;
    setText(byId("price"), price(latest.price));
    byId("price").dataset.value = String(latest.price);
    this.#volatility(latest);
    this.#change();
    fill(byId("forecast").tBodies[0], latest.predictions, (one) =>
      row([
        horizonName(one.horizon_s),
        volatility(one.sigma_annualised),
        band(yearly(one.lo, one.horizon_s), yearly(one.hi, one.horizon_s)),
        `±${percent(one.sigma, 2)}`,
        percent(one.score, 0),
      ]),
    );
    this.#draw();
  }

  // Called once a second.
  async tick(now) {
    const entry = this.store.get(this.symbol);
    if (!entry) return;
    const { latest } = entry;
    const { quality } = latest;
    const facts = [
      `as of ${clock(entry.time)} UTC`,
      latest.stale ? `stale, ${age(this.store.age(entry, now))} old` : null,
      `${latest.model_variant}-${latest.version}`,
      quality.verdict === "warming" ? "warming up" : quality.verdict,
      `${quality.calibration} calibration`,
    ];
    setText(byId("facts"), facts.filter(Boolean).join(" · "));
    byId("detail").toggleAttribute("data-stale", latest.stale);
    document.title = `${byId("price").textContent} · ${byId("volatility").firstChild.textContent} · ${this.symbol}`;
    this.panel.tick(now);
    // Outcomes mature at the ends of minutes of event time and are not part of the stream.
    const minute = Math.floor(this.series.end / 60_000);
    const due = minute !== this.minute && now - this.refreshed > LEAST_REFRESH_MS;
    if (due || now - this.refreshed > REFRESH_MS) {
      this.minute = minute;
      await this.#refresh();
    }
  }

  async #refresh() {
    const series = this.series;
    this.refreshed = Date.now();
    try {
      const history = await this.#history(series.symbol, 30);
      series.addOutcomes(history.outcomes);
      this.#draw();
      this.#outcomes();
    } catch {
      // The next refresh tries again.
    }
  }

  #history(symbol, limit) {
    return this.api.get(`/history/${encodeURIComponent(symbol)}?limit=${limit}`);
  }

  #draw() {
    const latest = this.store.get(this.symbol)?.latest;
    if (latest) this.panel.draw(this.series, latest, this.variant);
  }

  #volatility({ predictions, score, quality }) {
    const one = predictions.find((said) => said.horizon_s === this.horizon) ?? predictions[0];
    const [number, words] = byId("volatility").children;
    setText(number, volatility(one.sigma_annualised));
    const regime = regimeOf(one.score ?? score, quality.verdict)?.name;
    const expected = `a year expected over ${horizonName(one.horizon_s)}`;
    setText(words, [expected, regime].filter(Boolean).join(" · "));
  }

  // The change of the price over what the charts show.
  #change() {
    const { shown } = this.panel.charts;
    const [first, last] = [shown?.prices.at(0), shown?.prices.at(-1)];
    if (!first || first === last) return setText(byId("change"), "");
    const change = last.price / first.price - 1;
    const sign = change < 0 ? "−" : "+";
    const passed = Math.min(last.time, shown.to) - Math.max(first.time, shown.from);
    setText(byId("change"), `${sign}${percent(Math.abs(change), 2)} in ${age(passed / 1000)}`);
  }

  #record() {
    if (this.quality) showRecord(this.quality, this.symbol, this.variant);
  }

  #outcomes() {
    if (!byId("outcomes").open || !this.series) return;
    const seconds = this.horizon;
    showOutcomes(this.series.judged(seconds, this.variant), seconds);
  }
}

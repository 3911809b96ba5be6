// The two charts of the selected symbol, and their shared cursor.
//
// Forecasts are drawn at the end of their horizon: at 12:01 the band is the forecast made at 12:00 for
// the minute until then, and the dot is the realised volatility. So the band extends beyond the present
// by one horizon.

import { byId, setText } from "./dom.js";
import { band, clock, horizonName, percent, price, volatility, yearly } from "./format.js";
import { Chart, readColours } from "./chart.js";

const EVERY_MS = 100;
const LEAST_WINDOW_MS = 15 * 60_000;
const MOST_WINDOW_MS = 60 * 60_000;
const MOST_BAND = 3.5; // times sigma: wider bands are cut off, or they would flatten everything else

export class Charts {
  constructor() {
    this.horizon = 60;
    this.drawn = 0;
    this.waiting = null;
    this.cursor = null;
    const prices = { format: (value, range) => axisPrice(value, range) };
    this.price = new Chart(byId("plot-price"), prices);
    this.vol = new Chart(byId("plot-vol"), { format: (value) => percent(value, value && value < 0.1 ? 1 : 0), zero: true });
    this.price.onResize = this.vol.onResize = () => this.#paint();
    this.#listen(byId("cursor"));
  }

  get windowMs() {
    return Math.min(MOST_WINDOW_MS, Math.max(LEAST_WINDOW_MS, this.horizon * 15_000));
  }

  setHorizon(seconds) {
    this.horizon = seconds;
    setText(byId("vol-horizon"), `of ${horizonName(seconds)}, a year`);
    this.forget();
  }

  forget() {
    this.price.forget();
    this.vol.forget();
    this.cursor = null;
  }

  themed() {
    readColours();
    this.#paint();
  }

  // Draw at most ten times a second: more is not visible at this scale.
  draw(series, latest, variant) {
    this.what = { series, latest, variant };
    const wait = EVERY_MS - (performance.now() - this.drawn);
    if (wait <= 0) this.#paint();
    else this.waiting ??= setTimeout(() => this.#paint(), wait);
  }

  #paint() {
    clearTimeout(this.waiting);
    this.waiting = null;
    this.drawn = performance.now();
    const { series, latest, variant } = this.what ?? {};
    if (!series?.end || document.hidden) return;
    const now = series.end;
    const span = { from: now - this.windowMs, to: now + this.horizon * 1000, now };
    const frame = { ...span, marks: series.marks, cursor: this.cursor };
    this.price.draw({ ...frame, ...this.#prices(series, latest, span) });
    this.vol.draw({ ...frame, ...this.#volatilities(series, variant, span) });
    if (this.cursor !== null) this.#read();
  }

  #prices(series, latest, { from, now }) {
    const points = series.prices.filter(([time]) => time >= from);
    const sigma = latest?.predictions.find((one) => one.horizon_s === this.horizon)?.sigma;
    const cone = sigma ? coneOf(now, latest.price, sigma, this.horizon) : [];
    const values = [...points.map(([, value]) => value), ...cone.flatMap(([, low, high]) => [low, high])];
    const layers = [
      { kind: "band", points: cone, colour: "soft" },
      { kind: "line", points, colour: "ink" },
    ];
    return { layers, values };
  }

  #volatilities(series, variant, { from }) {
    const ahead = this.horizon * 1000;
    const a = (value) => yearly(value, this.horizon);
    const judged = series.judged(this.horizon, variant).filter((one) => one.matured >= from);
    const said = series.said.filter(({ time }) => time + ahead >= from);
    const start = said[0] ? said[0].time + ahead : Infinity;
    const bands = [
      ...judged.filter((one) => one.matured < start).map((one) => [one.matured, one.sigma, one.lo, one.hi]),
      ...said.map(({ time, by }) => [time + ahead, ...(by.get(this.horizon) ?? [NaN, NaN, NaN])]),
    ].filter(([, sigma]) => Number.isFinite(sigma));
    const came = judged.map((one) => [one.matured, a(one.realised), !one.covered]);
    const values = came.map(([, value]) => value);
    for (const [, sigma, , hi] of bands) values.push(a(Math.min(hi, MOST_BAND * sigma)));
    const layers = [
      { kind: "band", points: bands.map(([t, , lo, hi]) => [t, a(lo), a(hi)]), colour: "band" },
      { kind: "line", points: bands.map(([t, sigma]) => [t, a(sigma)]), colour: "accent", width: 1.8 },
      { kind: "line", points: came, colour: "muted", width: 1 },
      { kind: "dots", points: came, colour: "ink" },
    ];
    return { layers, values };
  }

  // --- the cursor ---------------------------------------------------------------------------

  #listen(node) {
    node.addEventListener("pointermove", (event) => {
      const left = byId("plot-vol").getBoundingClientRect().left;
      this.#point(this.vol.timeAt(event.clientX - left));
    });
    node.addEventListener("pointerleave", () => this.#point(null));
    node.addEventListener("blur", () => this.#point(null));
    node.addEventListener("keydown", (event) => this.#key(event, node));
  }

  #point(time) {
    this.cursor = time;
    this.#paint();
    if (time === null) setText(byId("readout"), "Point at a chart, or use the arrow keys on it.");
  }

  #key(event, node) {
    const { frame } = this.vol;
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };
    if (!frame || !(event.key in steps || event.key === "Home" || event.key === "End")) return;
    event.preventDefault();
    const size = (frame.to - frame.from) / 60;
    let time = (this.cursor ?? frame.now) + (steps[event.key] ?? 0) * size;
    if (event.key === "Home") time = frame.from;
    if (event.key === "End") time = frame.to;
    this.#point(Math.min(frame.to, Math.max(frame.from, time)));
    const share = (this.cursor - frame.from) / (frame.to - frame.from);
    node.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  }

  #read() {
    const { series, variant } = this.what;
    const time = this.cursor;
    const words = [`${clock(time)} UTC`];
    const at = nearest(series.prices, time, ([t]) => t);
    if (at && time <= series.end) words.push(`price ${price(at[1])}`);
    const said = nearest(series.said, time - this.horizon * 1000, (one) => one.time);
    const numbers = said?.by.get(this.horizon);
    if (numbers) {
      const [sigma, lo, hi] = numbers.map((value) => yearly(value, this.horizon));
      words.push(`forecast ${volatility(sigma)}, band ${band(lo, hi)}, by ${said.model}`);
    }
    const came = nearest(series.judged(this.horizon, variant), time, (one) => one.matured, 60_000);
    if (came) {
      words.push(`came ${volatility(yearly(came.realised, this.horizon))}${came.covered ? "" : " (outside)"}`);
    }
    const mark = nearest(series.marks, time, (one) => one.time, this.windowMs / 90);
    if (mark) words.push(mark.text);
    const text = words.join(" · ");
    setText(byId("readout"), text);
    const cursor = byId("cursor");
    // The text of the same time grows once the history has loaded.
    if (cursor.getAttribute("aria-valuetext") !== text) cursor.setAttribute("aria-valuetext", text);
  }
}

// Return the price cone: one sigma up and down, growing with the square root of time.
function coneOf(now, value, sigma, horizonS) {
  const points = [];
  for (let step = 0; step <= 24; step++) {
    const reach = sigma * Math.sqrt(step / 24);
    points.push([now + (step / 24) * horizonS * 1000, value * Math.exp(-reach), value * Math.exp(reach)]);
  }
  return points;
}

function nearest(items, time, timeOf, within = 30_000) {
  let best = null;
  for (const item of items) {
    if (best === null || Math.abs(timeOf(item) - time) < Math.abs(timeOf(best) - time)) best = item;
  }
  return best !== null && Math.abs(timeOf(best) - time) <= within ? best : null;
}

function axisPrice(value, range) {
  const digits = Math.min(10, Math.max(0, Math.ceil(1 - Math.log10(range))));
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// The two charts of the selected symbol.
//
// Forecasts are drawn at the end of their horizon: at 12:01 the band is the forecast made at 12:00 for
// the minute until then, and the dot is the realised volatility. So the band extends beyond the present
// by one horizon.

import { byId, setText } from "./dom.js";
import { horizonName, percent, yearly } from "./format.js";
import { Chart } from "./chart.js";
import { Cursor } from "./cursor.js";
import { shownOf } from "./shown.js";

const EVERY_MS = 100;
const EVERY_LONG_MS = 1_000; // steps longer than minutes move by less than a pixel in that time
const MOST_BAND = 3.5; // times sigma: wider bands are cut off, or they would flatten everything else
const MOST_DOTS = 150; // more would hide one another: then only those outside of the band
const HOLE_MS = 3600_000; // a longer silence was not observed, and no line crosses it

export class Charts {
  // onView is called after a change of what the view shows.
  constructor(view, onView) {
    this.view = view;
    this.onView = onView;
    this.horizon = 60;
    this.drawn = 0;
    this.waiting = null;
    this.what = null; // { series, past, latest, variant }
    this.shown = null;
    const prices = { format: (value, range) => axisPrice(value, range) };
    this.price = new Chart(byId("plot-price"), prices);
    this.vol = new Chart(byId("plot-vol"), { format: (value) => percent(value, value && value < 0.1 ? 1 : 0), zero: true });
    this.price.onResize = this.vol.onResize = () => this.paint();
    this.cursor = new Cursor(this, () => this.paint());
  }

  setHorizon(seconds) {
    this.horizon = seconds;
    setText(byId("vol-horizon"), `of ${horizonName(seconds)}, a year`);
    setText(byId("vol-when"), `forecast and realised at the end of their ${horizonName(seconds)}`);
    this.#rescale();
    this.cursor.forget();
  }

  // Forget what is of another symbol or horizon.
  forget() {
    this.what = this.shown = null;
    this.#rescale();
    this.cursor.forget();
  }

  #rescale() {
    this.price.forget();
    this.vol.forget();
  }

  // Return the stretch that is shown, once there is one.
  get stretch() {
    const { series, past } = this.what ?? {};
    if (!series?.end) return null;
    const oldest = Math.min(past.rows[0]?.time ?? Infinity, series.start);
    return this.view.stretch(series.end, oldest, this.horizon * 1000);
  }

  // Change the stretch: `change` gets the view, and the stretch with the newest tick and the end of the
  // newest forecast.
  change(change) {
    const { stretch } = this;
    if (!stretch) return;
    const now = this.what.series.end;
    change(this.view, { ...stretch, now, last: now + this.horizon * 1000 });
    this.viewed();
  }

  // Show what the view shows now.
  viewed() {
    this.#rescale();
    this.onView();
  }

  // Draw at most ten times a second: more is not visible at this scale.
  draw(what) {
    this.what = what;
    const every = what.past.minutes ? EVERY_MS : EVERY_LONG_MS;
    const wait = every - (performance.now() - this.drawn);
    if (wait <= 0) this.paint();
    else this.waiting ??= setTimeout(() => this.paint(), wait);
  }

  paint() {
    clearTimeout(this.waiting);
    this.waiting = null;
    this.drawn = performance.now();
    const { stretch } = this;
    if (!stretch || document.hidden) return;
    this.cursor.keepWithin(stretch);
    const { series, past, latest, variant } = this.what;
    const newest = { time: series.end, price: latest.price };
    this.shown = shownOf({ series, past, horizonS: this.horizon, variant }, newest, stretch);
    const hole = HOLE_MS + past.stepMs;
    const frame = { ...stretch, now: series.end, hole, marks: this.shown.marks, ...this.cursor.frame };
    this.price.draw({ ...frame, ...this.#prices(stretch, newest) });
    this.vol.draw({ ...frame, ...this.#volatilities(stretch) });
    this.cursor.read();
  }

  #prices({ from, to }, newest) {
    const { prices, spreads } = this.shown;
    const { predictions } = this.what.latest;
    const sigma = predictions.find((one) => one.horizon_s === this.horizon)?.sigma;
    const cone = sigma && newest.time <= to ? coneOf(newest, sigma, this.horizon) : [];
    const inside = ({ time }) => time >= from && time <= to;
    const values = [...prices.filter(inside).map(({ price }) => price), ...cone.flatMap(([, low, high]) => [low, high])];
    for (const { low, high } of spreads.filter(inside)) values.push(low, high);
    const layers = [
      { kind: "band", points: spreads.map(({ time, low, high }) => [time, low, high]), colour: "soft" },
      { kind: "band", points: cone, colour: "soft" },
      { kind: "line", points: prices.map(({ time, price }) => [time, price]), colour: "ink" },
    ];
    return { layers, values };
  }

  #volatilities({ from, to }) {
    const { forecasts, outcomes } = this.shown;
    const a = (value) => yearly(value, this.horizon);
    const came = outcomes.map(({ time, realised, outside }) => [time, a(realised), outside]);
    const values = [];
    for (const { time, realised } of outcomes) if (time >= from && time <= to) values.push(a(realised));
    for (const { time, sigma, hi } of forecasts) {
      if (time >= from && time <= to) values.push(a(Math.min(hi, MOST_BAND * sigma)));
    }
    const dots = came.length <= MOST_DOTS ? came : came.filter(([, , outside]) => outside);
    const layers = [
      { kind: "band", points: forecasts.map(({ time, lo, hi }) => [time, a(lo), a(hi)]), colour: "band" },
      { kind: "line", points: came.map(([time, value]) => [time, value]), colour: "muted", width: 1 },
      { kind: "dots", points: dots, colour: "ink", size: came.length <= MOST_DOTS ? 1 : 0.6 },
      { kind: "line", points: forecasts.map(({ time, sigma }) => [time, a(sigma)]), colour: "accent", width: 1.8 },
    ];
    return { layers, values };
  }
}

// Return the price cone: one sigma up and down, growing with the square root of time.
function coneOf({ time, price }, sigma, horizonS) {
  const points = [];
  for (let step = 0; step <= 24; step++) {
    const reach = sigma * Math.sqrt(step / 24);
    points.push([time + (step / 24) * horizonS * 1000, price * Math.exp(-reach), price * Math.exp(reach)]);
  }
  return points;
}

function axisPrice(value, range) {
  const digits = Math.min(10, Math.max(0, Math.ceil(1 - Math.log10(range))));
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

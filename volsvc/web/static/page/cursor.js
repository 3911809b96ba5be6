// The cursor of the charts: the values at a time in words, and the zoom by mouse and keyboard.

import { band, clock, dayAndClock, price, volatility, yearly } from "./format.js";
import { byId, setText } from "./dom.js";

const LEAST_DRAG_PX = 8;
const HINT = "Point at a chart, or use the arrow keys on it. Drag with the mouse to zoom.";
const MOVES = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };
const ZOOMS = { "+": 1 / 2, "=": 1 / 2, "-": 2 };

export class Cursor {
  constructor(charts, onMove) {
    this.charts = charts;
    this.onMove = onMove;
    this.node = byId("cursor");
    this.forget();
    this.node.addEventListener("pointerdown", (event) => this.#down(event));
    this.node.addEventListener("pointermove", (event) => this.#point(this.#timeOf(event)));
    this.node.addEventListener("pointerup", (event) => this.#up(event));
    this.node.addEventListener("pointercancel", () => (this.drag = null));
    this.node.addEventListener("pointerleave", () => this.#point(null));
    this.node.addEventListener("blur", () => this.#point(null));
    this.node.addEventListener("dblclick", () => this.charts.change((view) => view.back()));
    this.node.addEventListener("keydown", (event) => this.#key(event));
  }

  forget() {
    this.time = null;
    this.drag = null; // { x, time } where a mouse went down
  }

  keepWithin({ from, to }) {
    if (this.time !== null) this.time = Math.min(to, Math.max(from, this.time));
  }

  // What a chart draws of it.
  get frame() {
    const { time, drag } = this;
    return { cursor: time, selection: drag && time !== null ? [drag.time, time].sort((a, b) => a - b) : null };
  }

  #timeOf(event) {
    return this.charts.vol.timeAt(event.clientX - byId("plot-vol").getBoundingClientRect().left);
  }

  #point(time) {
    this.time = time;
    this.onMove();
    if (time === null) setText(byId("readout"), HINT);
  }

  // Fingers scroll, and move the cursor; only a mouse or a pen drags.
  #down(event) {
    if (event.pointerType === "touch" || event.button !== 0 || !this.charts.vol.frame) return;
    this.node.setPointerCapture(event.pointerId);
    this.drag = { x: event.clientX, time: this.#timeOf(event) };
  }

  #up(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    const [from, to] = [drag.time, this.#timeOf(event)].sort((a, b) => a - b);
    if (Math.abs(event.clientX - drag.x) < LEAST_DRAG_PX) this.onMove();
    else this.charts.change((view) => view.show(from, to));
  }

  #key(event) {
    const { frame } = this.charts.vol;
    if (!frame || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = this.#action(event, frame);
    if (!act) return;
    event.preventDefault();
    act();
  }

  #action({ key, shiftKey }, frame) {
    const { charts } = this;
    const { from, to, now } = frame;
    const at = this.time ?? Math.min(now, to);
    if (key === "Escape") return () => this.#escape();
    if (key in ZOOMS) return () => charts.change((view, stretch) => view.scale(ZOOMS[key], at, stretch));
    if (shiftKey && key in MOVES) return () => charts.change((view, stretch) => view.shift(MOVES[key] / 4, stretch));
    const place = key in MOVES ? at + (MOVES[key] * (to - from)) / 60 : { Home: from, End: to }[key];
    return place === undefined ? null : () => this.#place(place, frame);
  }

  #escape() {
    if (this.drag) this.drag = null;
    else this.charts.change((view) => view.back());
    this.onMove();
  }

  #place(time, { from, to }) {
    this.#point(Math.min(to, Math.max(from, time)));
    this.node.setAttribute("aria-valuenow", String(Math.round((100 * (this.time - from)) / (to - from))));
  }

  // Tell the values at the cursor.
  read() {
    const { time } = this;
    if (time === null) return;
    const text = this.#words(time).join(" · ");
    setText(byId("readout"), text);
    // The text of the same time grows once the past has loaded.
    if (this.node.getAttribute("aria-valuetext") !== text) this.node.setAttribute("aria-valuetext", text);
  }

  #words(time) {
    const { shown, horizon, what } = this.charts;
    const within = Math.max(30_000, what.past.stepMs);
    const width = shown.to - shown.from;
    const long = width > 12 * 3600_000;
    const words = [`${long ? dayAndClock(time) : clock(time)} UTC`];
    const at = nearest(shown.prices, time, within);
    if (at && time <= what.series.end) words.push(`price ${price(at.price)}`);
    const a = (value) => yearly(value, horizon);
    const said = nearest(shown.forecasts, time, within);
    if (said) words.push(`forecast ${volatility(a(said.sigma))}, band ${band(a(said.lo), a(said.hi))}, by ${said.model}`);
    const came = nearest(shown.outcomes, time, Math.max(60_000, within));
    if (came) words.push(`came ${volatility(a(came.realised))}${came.outside ? " (outside)" : ""}`);
    const mark = nearest(shown.marks, time, width / 90);
    if (mark) words.push(mark.text);
    return words;
  }
}

function nearest(items, time, within) {
  let best = null;
  for (const item of items) {
    if (best === null || Math.abs(item.time - time) < Math.abs(best.time - time)) best = item;
  }
  return best !== null && Math.abs(best.time - time) <= within ? best : null;
}

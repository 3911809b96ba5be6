// A small chart on a canvas: bands, lines, dots and marks over time or another quantity, at the
// screen's resolution and in the colours of the style sheet. Axes are kept stable, so that nothing
// jumps as values change.

import { clock, day } from "./format.js";

const LEFT = 8;
const RIGHT = 58;
const TOP = 8;
const BOTTOM = 20;
const LABEL_PX = 72;
const DAY_MS = 86_400_000;
const TIME_STEPS = [
  ...[10, 30, 60, 120, 300, 600, 900, 1800, 3600].map((s) => s * 1000),
  ...[2, 3, 6, 12, 24, 48, 120].map((hours) => hours * 3600_000),
];

let colours = {};

// Read the colours again after a change of the theme.
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "muted", "line", "card", "accent", "band", "soft", "out", "swap", "gap"];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// Return round steps for about `wanted` lines.
export function ticksOf(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) ticks.push(at);
  return ticks;
}

// Return [time, label] at round times for about `wanted` labels: days where one begins.
export function timesOf(from, to, wanted) {
  const step = TIME_STEPS.find((size) => (to - from) / size <= wanted) ?? TIME_STEPS.at(-1);
  const labels = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    const long = to - from > DAY_MS && at % DAY_MS === 0;
    labels.push([at, step >= DAY_MS || long ? day(at) : clock(at, step < 60_000)]);
  }
  return labels;
}

export class Chart {
  // `format` and `across` label the two axes; `zero` begins the upright one at 0.
  constructor(holder, { format, across = timesOf, zero = false }) {
    this.holder = holder;
    this.canvas = holder.querySelector("canvas");
    this.format = format;
    this.across = across;
    this.zero = zero;
    this.domain = null;
    this.frame = null;
    new ResizeObserver(() => this.onResize?.()).observe(holder);
  }

  forget() {
    this.domain = null;
  }

  // frame: { from, to, layers, values }, and where they are wanted { now, marks, cursor, selection,
  // hole }. `values` must fit into the chart; no line crosses more than `hole`.
  draw(frame) {
    this.frame = { hole: Infinity, marks: [], now: frame.to, cursor: null, selection: null, ...frame };
    const pen = this.#begin();
    if (!pen) return;
    this.domain = fitted(frame.values, this.domain, this.zero);
    if (!this.domain) return;
    this.#grid(pen);
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, this.width - LEFT - RIGHT, this.height - BOTTOM);
    pen.clip();
    for (const layer of frame.layers) this.#layer(pen, layer);
    pen.restore();
    this.#marks(pen);
    if (this.frame.selection) this.#selection(pen);
    if (this.frame.cursor !== null) this.#cursor(pen);
  }

  x(time) {
    const { from, to } = this.frame;
    return LEFT + ((time - from) / (to - from)) * (this.width - LEFT - RIGHT);
  }

  y(value) {
    const [low, high] = this.domain;
    return this.height - BOTTOM - ((value - low) / (high - low)) * (this.height - BOTTOM - TOP);
  }

  // Return the time at a horizontal offset of the holder, for a pointer.
  timeAt(x) {
    if (!this.frame) return null;
    const share = (x - LEFT) / (this.width - LEFT - RIGHT);
    return this.frame.from + Math.min(1, Math.max(0, share)) * (this.frame.to - this.frame.from);
  }

  #begin() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.holder.clientWidth;
    this.height = this.holder.clientHeight;
    if (!this.width || !this.height) return null;
    const [wide, high] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (this.canvas.width !== wide || this.canvas.height !== high) {
      this.canvas.width = wide;
      this.canvas.height = high;
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    pen.font = "11px system-ui, sans-serif";
    pen.lineJoin = "round";
    return pen;
  }

  #grid(pen) {
    const [low, high] = this.domain;
    const right = this.width - RIGHT;
    pen.strokeStyle = colours.line;
    pen.fillStyle = colours.muted;
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "left";
    for (const value of ticksOf(low, high, Math.max(2, (this.height - BOTTOM) / 34))) {
      const y = Math.round(this.y(value)) + 0.5;
      line(pen, LEFT, y, right, y);
      pen.fillText(this.format(value, high - low), right + 8, y);
    }
    this.#times(pen);
  }

  #times(pen) {
    const { from, to } = this.frame;
    const wanted = Math.max(2, (this.width - LEFT - RIGHT) / LABEL_PX);
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    for (const [at, label] of this.across(from, to, wanted)) {
      const x = this.x(at);
      if (x > LEFT + 14 && x < this.width - RIGHT - 8) pen.fillText(label, x, this.height - 5);
    }
  }

  #layer(pen, { kind, points, colour, width = 1.5, dash = [], size = 1, hole = this.frame.hole }) {
    if (!points.length) return;
    pen.strokeStyle = pen.fillStyle = colours[colour];
    pen.lineWidth = width;
    pen.setLineDash(dash);
    if (kind === "dots") this.#dots(pen, points, colours[colour], size);
    else for (const piece of piecesOf(points, hole)) this.#piece(pen, kind, piece);
    pen.setLineDash([]);
  }

  #piece(pen, kind, points) {
    pen.beginPath();
    for (const [at, value] of points) pen.lineTo(this.x(at), this.y(value));
    if (kind === "line") return pen.stroke();
    for (const [at, , value] of points.toReversed()) pen.lineTo(this.x(at), this.y(value));
    pen.fill();
  }

  // A dot outside its band is also a diamond, so that colour is not the only cue.
  #dots(pen, points, colour, size) {
    for (const [at, value, outside] of points) {
      const [x, y] = [this.x(at), this.y(value)];
      pen.fillStyle = outside ? colours.out : colour;
      pen.beginPath();
      if (outside) {
        for (const [dx, dy] of [[0, -4.5], [4.5, 0], [0, 4.5], [-4.5, 0]]) pen.lineTo(x + size * dx, y + size * dy);
      } else {
        pen.arc(x, y, 2.4 * size, 0, 7);
      }
      pen.fill();
    }
  }

  #marks(pen) {
    const { from, to, now, marks } = this.frame;
    const bottom = this.height - BOTTOM;
    pen.lineWidth = 1;
    if (now < to) {
      pen.strokeStyle = colours.muted;
      pen.setLineDash([2, 3]);
      line(pen, this.x(now), TOP, this.x(now), bottom);
    }
    for (const { time, kind } of marks) {
      if (time < from || time > to) continue;
      const x = Math.round(this.x(time)) + 0.5;
      pen.strokeStyle = pen.fillStyle = colours[kind];
      pen.setLineDash(kind === "gap" ? [1, 3] : [5, 3]);
      line(pen, x, TOP, x, bottom);
      pen.beginPath();
      if (kind === "gap") pen.rect(x - 3.5, 1, 7, 7);
      else for (const [dx, dy] of [[-5, 0], [5, 0], [0, 8]]) pen.lineTo(x + dx, 1 + dy);
      pen.fill();
    }
    pen.setLineDash([]);
  }

  #selection(pen) {
    const [left, right] = this.frame.selection.map((at) => this.x(at));
    pen.fillStyle = colours.soft;
    pen.fillRect(left, 0, right - left, this.height - BOTTOM);
  }

  #cursor(pen) {
    const x = Math.round(this.x(this.frame.cursor)) + 0.5;
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 1;
    line(pen, x, 0, x, this.height - BOTTOM);
  }
}

// Cut points where the next one is farther away than `hole`.
function piecesOf(points, hole) {
  const pieces = [];
  let start = 0;
  for (let at = 1; at <= points.length; at++) {
    if (at < points.length && points[at][0] - points[at - 1][0] <= hole) continue;
    pieces.push(points.slice(start, at));
    start = at;
  }
  return pieces;
}

function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

// Return a range that holds the values; it grows at once, and shrinks only if much of it is empty.
function fitted(values, before, zero) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return before;
  const room = (high - low || Math.abs(high) * 1e-4 || 1) * 0.12;
  const wanted = [zero ? 0 : low - room, high + room];
  if (!before) return wanted;
  const outside = low < before[0] || high > before[1];
  const loose = wanted[1] - wanted[0] < 0.6 * (before[1] - before[0]);
  return outside || loose ? wanted : before;
}

// A sparkline: a line without axes, for a row of the table.
export function spark(canvas, points) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (points.length < 2) return;
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const x = (time) => 1 + ((time - first) / (last - first)) * (width - 5);
  const y = (value) => height - 3 - ((value - low) / (high - low || 1)) * (height - 6);
  pen.strokeStyle = colours.muted;
  pen.lineWidth = 1.2;
  pen.lineJoin = "round";
  pen.beginPath();
  for (const [time, value] of points) pen.lineTo(x(time), y(value));
  pen.stroke();
  pen.fillStyle = colours.ink;
  pen.beginPath();
  pen.arc(x(last), y(values.at(-1)), 1.8, 0, 7);
  pen.fill();
}

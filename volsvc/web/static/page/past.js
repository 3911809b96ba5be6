// The past of a symbol that the service keeps: minutes or longer steps, with their forecasts.

import { trouble } from "./api.js";
import { horizonName, timeOf } from "./format.js";
import { MOST_ROWS, stepOf } from "./view.js";

const MINUTE_MS = 60_000;
const REFRESH_MS = 60_000;
const RETRY_MS = 1_000; // the first minutes are written a moment after the start
const OF_ROW = ["close", "high", "low", "model_variant", "version", "gap"];
const OF_HORIZON = ["sigma", "lo", "hi", "realised"];

export class Past {
  constructor(api) {
    this.api = api;
    this.forget();
  }

  forget() {
    this.running?.abort();
    this.rows = [];
    this.stepMs = 0;
    this.horizonS = null;
    this.problem = null;
    this.loaded = false;
    this.due = 0; // time of the next request
    this.retryMs = RETRY_MS;
  }

  // Load the rows of a stretch, and give up a request that is running. Rows of before stay meanwhile.
  async load(symbol, horizonS, stretch) {
    this.running?.abort();
    const running = (this.running = new AbortController());
    this.due = Infinity;
    try {
      const found = await this.#found(symbol, horizonS, stretch, running.signal);
      if (running.signal.aborted) return;
      Object.assign(this, found, { horizonS, problem: null });
    } catch (problem) {
      if (running.signal.aborted) return;
      this.problem = problem;
      if (problem.notKept) Object.assign(this, { rows: [], stepMs: 0 });
    }
    this.loaded = true;
    const settled = this.rows.length || this.problem?.notKept;
    this.due = Date.now() + (settled ? REFRESH_MS : this.retryMs);
    this.retryMs = settled ? RETRY_MS : Math.min(REFRESH_MS, 2 * this.retryMs);
  }

  // Whether the live series may follow the rows.
  get minutes() {
    return !this.rows.length || this.stepMs <= MINUTE_MS;
  }

  // Return what to tell of the rows; empty before the first answer.
  get note() {
    if (!this.loaded) return "";
    if (this.problem) return trouble(this.problem);
    if (!this.rows.length) return "No minutes of this time are kept.";
    return `One point each ${horizonName(this.stepMs / 1000)}.`;
  }

  async #found(symbol, horizonS, { from, to, now }, signal) {
    const stepMs = stepOf(to - from);
    const fields = [...OF_ROW, ...OF_HORIZON.map((name) => `${name}_${horizonS}s`)];
    const query = new URLSearchParams({
      start: new Date(from - stepMs).toISOString(), // lines reach the edge
      end: new Date(to).toISOString(),
      step: String(stepMs / 1000),
      fields: fields.join(","),
      limit: String(MOST_ROWS + 3), // a range is widened to whole steps
    });
    const answer = await this.api.get(`/history/${encodeURIComponent(symbol)}?${query}`, { signal });
    const rows = answer.rows.map((row) => rowOf(row, horizonS, now));
    // Less may be kept than was asked for: then a finer step fits.
    const kept = { from: rows.length ? rows[0].time - stepMs : from, to, now };
    if (stepOf(to - kept.from) < stepMs) return this.#found(symbol, horizonS, kept, signal);
    return { rows, stepMs };
  }
}

function rowOf(row, horizonS, now) {
  const [sigma, lo, hi, realised] = OF_HORIZON.map((name) => row[`${name}_${horizonS}s`]);
  const { close, high, low, gap } = row;
  // A step that is not over ends in the future; its forecast is of now.
  const time = Math.min(timeOf(row.time), now);
  return { time, close, high, low, gap, model: `${row.model_variant}-${row.version}`, sigma, lo, hi, realised };
}

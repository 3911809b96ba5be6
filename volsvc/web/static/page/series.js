// The recent past of the selected symbol: prices, forecasts, outcomes and marks of changes.
// All times are event times in milliseconds.

import { timeOf } from "./format.js";

const KEEP_MS = 2 * 3600_000;
const DENSE_MS = 5 * 60_000; // every price is kept for this long, after that one in ten seconds
const SPARSE_MS = 10_000;
const MOST = 6_000;
const RESTARTED_MS = 60_000; // time that jumps back this far means another run of a recording

export class Series {
  constructor(symbol) {
    this.symbol = symbol;
    this.prices = []; // [time, price]
    this.said = []; // { time, model, by: Map(horizon_s -> [sigma, lo, hi]) }
    this.outcomes = new Map(); // "matured horizon variant" -> outcome
    this.marks = []; // { time, kind: "swap" | "gap", text }
    this.gaps = null;
  }

  // Add an answer of /history: it fills the time before the page was opened and of lost connections.
  load({ rows, forecasts, outcomes }) {
    const dense = rows.map((row) => [timeOf(row.time), row.price]);
    const from = dense[0]?.[0] ?? Infinity;
    const older = forecasts.map((one) => [timeOf(one.time), one.price]).filter(([time]) => time < from);
    this.prices = merged(this.prices, [...older, ...dense], ([time]) => time);
    const said = forecasts.map(saidOf);
    this.said = merged(this.said, said, ({ time }) => time);
    for (const { time, kind, text } of marksOf(said, forecasts)) this.mark(time, kind, text);
    this.addOutcomes(outcomes);
  }

  addOutcomes(outcomes) {
    for (const one of outcomes) {
      const outcome = { ...one, matured: timeOf(one.matured), issued: timeOf(one.issued) };
      this.outcomes.set(`${one.matured} ${one.horizon_s} ${one.model_variant}`, outcome);
    }
    for (const key of this.outcomes.keys()) {
      if (this.outcomes.size <= 1_500) break;
      this.outcomes.delete(key);
    }
  }

  // Add an event of the stream.
  add(latest) {
    const time = timeOf(latest.as_of);
    if (this.end - time > RESTARTED_MS) Object.assign(this, new Series(this.symbol));
    if (time <= (this.prices.at(-1)?.[0] ?? -Infinity)) return;
    this.prices.push([time, latest.price]);
    const newest = this.said.at(-1);
    const next = saidOf({ ...latest, time: latest.as_of });
    const swapped = newest && newest.model !== next.model;
    if (swapped) this.mark(time, "swap", `${newest.model} → ${next.model}`);
    if (this.gaps !== null && latest.quality.gaps > this.gaps) this.mark(time, "gap", "gap in the feed");
    this.gaps = latest.quality.gaps;
    if (!newest || swapped || time - newest.time >= 1_000) this.said.push(next);
    if (this.prices.length > MOST || this.said.length > MOST) this.#thin(time);
  }

  mark(time, kind, text) {
    const near = this.marks.some((mark) => mark.kind === kind && Math.abs(mark.time - time) < 2_000);
    if (!near) this.marks.push({ time, kind, text });
  }

  get start() {
    return this.prices[0]?.[0] ?? null;
  }

  get end() {
    return this.prices.at(-1)?.[0] ?? null;
  }

  // Return the outcomes of a horizon and a variant, oldest first.
  judged(horizonS, variant) {
    return [...this.outcomes.values()]
      .filter((one) => one.horizon_s === horizonS && one.model_variant === variant)
      .sort((a, b) => a.matured - b.matured);
  }

  #thin(now) {
    this.prices = thinned(this.prices, ([time]) => time, now);
    this.said = thinned(this.said, ({ time }) => time, now);
    this.marks = this.marks.filter(({ time }) => now - time < KEEP_MS);
  }
}

// Merge two lists ordered by time; where they overlap, the second one wins.
function merged(own, told, timeOf) {
  if (!told.length) return own;
  const [first, last] = [timeOf(told[0]), timeOf(told.at(-1))];
  const before = own.filter((item) => timeOf(item) < first);
  return [...before, ...told, ...own.filter((item) => timeOf(item) > last)];
}

function saidOf(one) {
  const by = new Map(one.predictions.map((p) => [p.horizon_s, [p.sigma, p.lo, p.hi]]));
  return { time: timeOf(one.time), model: `${one.model_variant}-${one.version}`, by };
}

// Return marks at forecasts whose model or gap count differs from the one before.
function marksOf(said, forecasts) {
  const marks = [];
  for (let at = 1; at < said.length; at++) {
    const [old, next] = [said[at - 1], said[at]];
    if (old.model !== next.model) {
      marks.push({ time: next.time, kind: "swap", text: `${old.model} → ${next.model}` });
    }
    if (forecasts[at].gaps > forecasts[at - 1].gaps) {
      marks.push({ time: next.time, kind: "gap", text: "gap in the feed" });
    }
  }
  return marks;
}

function thinned(items, timeOf, now) {
  let kept = -Infinity;
  return items.filter((item) => {
    const time = timeOf(item);
    if (now - time > KEEP_MS) return false;
    if (now - time > DENSE_MS && time - kept < SPARSE_MS) return false;
    kept = time;
    return true;
  });
}

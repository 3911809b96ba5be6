// The stretch of time that the charts show: a range up to the newest tick, or a part that was zoomed
// into. Event times in milliseconds.

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const LEAST_MS = 15 * MINUTE_MS; // the first minutes of a symbol are not spread over the whole width
const LEAST_PART_MS = 5 * MINUTE_MS;
export const MOST_ROWS = 1_500;
const STEPS_MS = [1, 2, 5, 10, 15, 30, 60].map((minutes) => minutes * MINUTE_MS);
const WIDTHS_MS = { "1h": HOUR_MS, "6h": 6 * HOUR_MS, "1d": 24 * HOUR_MS, "7d": 168 * HOUR_MS, "30d": 720 * HOUR_MS };

export const RANGES = Object.keys(WIDTHS_MS);
export const USUAL = "7d";

// Return the finest step of which a width needs no more rows than one answer should have.
export function stepOf(widthMs) {
  return STEPS_MS.find((step) => widthMs / step <= MOST_ROWS) ?? STEPS_MS.at(-1);
}

export class View {
  constructor() {
    this.choose(USUAL);
  }

  choose(range) {
    this.range = range in WIDTHS_MS ? range : USUAL;
    this.part = null;
  }

  back() {
    this.part = null;
  }

  // Return what to draw: `end` is the newest tick, `oldest` the oldest time that is known, and
  // `aheadMs` how far forecasts reach.
  stretch(end, oldest, aheadMs) {
    if (this.part) return this.part;
    const width = Math.min(WIDTHS_MS[this.range], Math.max(LEAST_MS, end - oldest));
    return { from: end - width, to: end + aheadMs };
  }

  // Return what to request: forecasts are drawn at the end of their horizon, so those of before too.
  wanted(end, aheadMs) {
    const { from, to } = this.part ?? { from: end - WIDTHS_MS[this.range], to: end };
    return { from: from - aheadMs, to: Math.min(to, end), now: end };
  }

  show(from, to) {
    const width = Math.max(LEAST_PART_MS, to - from);
    const middle = (from + to) / 2;
    this.part = { from: middle - width / 2, to: middle + width / 2 };
  }

  // Show `factor` times as much, up to `last`, with the time `at` where it is; out of a part into the
  // whole range, and out of that into the next one.
  scale(factor, at, { from, to, last }) {
    if (factor > 1 && !this.part) return this.choose(RANGES[RANGES.indexOf(this.range) + 1] ?? this.range);
    const width = Math.max(LEAST_PART_MS, (to - from) * factor);
    if (factor > 1 && width >= WIDTHS_MS[this.range]) return this.back();
    const start = Math.min(at - ((at - from) / (to - from)) * width, last - width);
    this.part = { from: start, to: start + width };
  }

  // Show what is a share of the width earlier or later, at most up to `last`.
  shift(share, { from, to, last }) {
    const by = Math.min(share * (to - from), last - to);
    if (by) this.part = { from: from + by, to: to + by };
  }
}

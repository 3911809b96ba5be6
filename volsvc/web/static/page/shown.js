// What the charts show: rows of the store, and behind them the live series. A forecast and its outcome
// are placed at the end of the horizon. Volatilities are over the horizon.

const LEAST_MARGIN_MS = 60_000;

// Return { from, to } and between them { prices, spreads, forecasts, outcomes, marks }, in order of time.
// `newest` is the newest price. Longer steps than minutes are continued by that alone: the live series
// would be a dense spot at their end.
export function shownOf({ series, past, horizonS, variant }, newest, { from, to }) {
  const aheadMs = horizonS * 1000;
  const { rows, minutes } = past;
  const forecast = past.horizonS === horizonS ? rows.filter((row) => row.sigma !== null) : [];
  const judged = minutes ? series.judged(horizonS, variant).map(judgedOf) : [];
  const said = minutes ? series.said.map((one) => saidOf(one, horizonS)).filter(Boolean) : [];
  const parts = {
    prices: joined(rows.map(({ time, close }) => ({ time, price: close })), minutes ? series.prices.map(pricedOf) : [newest]),
    spreads: minutes ? [] : rows,
    forecasts: joined(forecast.length ? forecast.map((row) => forecastOf(row, aheadMs)) : judged, said),
    outcomes: followed(forecast.filter((row) => row.realised !== null).map((row) => outcomeOf(row, aheadMs)), judged),
    marks: joined(marksOf(rows), series.marks),
  };
  // One point outside on each side, so that lines reach the edges.
  const margin = Math.max(past.stepMs, LEAST_MARGIN_MS);
  const within = ({ time }) => time >= from - margin && time <= to + margin;
  const shown = Object.entries(parts).map(([name, items]) => [name, items.filter(within)]);
  return { from, to, ...Object.fromEntries(shown) };
}

const pricedOf = ([time, price]) => ({ time, price });

const judgedOf = ({ matured, sigma, lo, hi, realised, model_variant: variant, version }) =>
  ({ time: matured, sigma, lo, hi, realised, outside: realised < lo || realised > hi, model: `${variant}-${version}` });

function saidOf({ time, model, by }, horizonS) {
  const numbers = by.get(horizonS);
  if (!numbers) return null;
  const [sigma, lo, hi] = numbers;
  return { time: time + horizonS * 1000, sigma, lo, hi, model };
}

const forecastOf = ({ time, sigma, lo, hi, model }, aheadMs) => ({ time: time + aheadMs, sigma, lo, hi, model });

const outcomeOf = ({ time, realised, lo, hi }, aheadMs) =>
  ({ time: time + aheadMs, realised, outside: realised < lo || realised > hi });

// Return the older items up to the first of the newer ones, and those.
function joined(older, newer) {
  const first = newer[0]?.time ?? Infinity;
  return [...older.filter(({ time }) => time < first), ...newer];
}

// Return the older items, and the newer ones after the last of them.
function followed(older, newer) {
  const last = older.at(-1)?.time ?? -Infinity;
  return [...older, ...newer.filter(({ time }) => time > last)];
}

// Return marks at rows whose model differs from the one before, or before which ticks are missing.
function marksOf(rows) {
  const marks = [];
  rows.forEach(({ time, model, gap }, at) => {
    const before = rows[at - 1]?.model ?? model;
    if (model !== before) marks.push({ time, kind: "swap", text: `${before} → ${model}` });
    if (gap) marks.push({ time, kind: "gap", text: "gap in the feed" });
  });
  return marks;
}

// How forecasts of the selected symbol did lately: live scores and the newest outcomes.

import { bar, byId, fill, h, row, setText } from "./dom.js";
import { band, clock, fixed, horizonName, NONE, percent, volatility, yearly } from "./format.js";

const FEW = 30; // with fewer matured forecasts a mean has little meaning
const NEWEST = 12;
const MEANING = "90 % should be in the band. QLIKE is the loss on variances: lower is better; "
  + "skill is what ml saves of the baseline's.";
const NOTHING = "No forecast of this symbol has matured yet: the first does after two minutes.";

// Show the part of an answer of /quality that concerns a symbol.
export function showRecord(quality, symbol, variant) {
  const rows = quality.symbols.filter((one) => one.symbol === symbol);
  const horizons = [...new Set(rows.map((one) => one.horizon_s))].sort((a, b) => a - b);
  const scored = horizons.map((seconds) => {
    const of = (name) => rows.find((one) => one.variant === name && one.horizon_s === seconds);
    const [ml, base] = [of("ml"), of("baseline")];
    return { seconds, ml, base, serving: of(variant) ?? ml ?? base };
  });
  fill(byId("record").tBodies[0], scored, scoreRow);
  setText(byId("window"), `${symbol ?? ""}, last ${quality.window_days} days`);
  setText(byId("record-note"), horizons.length ? MEANING : NOTHING);
}

function scoreRow({ seconds, ml, base, serving }) {
  const few = serving.n < FEW;
  const mlWins = ml?.qlike < base?.qlike;
  const cells = [
    horizonName(seconds),
    h("span", { class: "in-band" }, percent(serving.coverage, 0), bar(serving.coverage)),
    h("span", { class: mlWins && !few ? "best" : "" }, fixed(ml?.qlike, 3)),
    h("span", { class: mlWins || few ? "" : "best" }, fixed(base?.qlike, 3)),
    few || ml?.skill == null ? NONE : percent(ml.skill, 0),
    fixed(serving.n, 0),
  ];
  return row(cells, few ? { "data-few": "", title: "too few to say much" } : {});
}

// The dots of the chart as a table, for users who cannot see the chart.
export function showOutcomes(judged, seconds) {
  const newest = judged.slice(-NEWEST).reverse();
  fill(byId("outcomes").querySelector("tbody"), newest, (one) =>
    row([
      clock(one.matured),
      volatility(yearly(one.sigma, seconds)),
      band(yearly(one.lo, seconds), yearly(one.hi, seconds)),
      `${volatility(yearly(one.realised, seconds))}${one.covered ? "" : " (outside)"}`,
    ]),
  );
}

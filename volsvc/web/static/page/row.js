// A row of the table of symbols: created once, after which only changed cells are written.

import { spark } from "./chart.js";
import { h, setData, setText } from "./dom.js";
import { age, NONE, percent, price, regimeOf, volatility } from "./format.js";

const FAULTS = ["gaps", "duplicates", "late", "future", "bad_prints"];

// Return the forecast of a symbol at a horizon.
export function said(entry, seconds) {
  return entry.latest.predictions.find((one) => one.horizon_s === seconds);
}

export class Row {
  constructor(symbol, columns) {
    this.node = h("tr", { "data-symbol": symbol });
    this.cells = {};
    this.drawn = 0; // time of the last drawing of the sparkline
    for (const { id, horizon } of columns) {
      const names = `c-${id}${horizon ? " c-sigma" : ""}`;
      this.cells[id] = h(id === "symbol" ? "th" : "td", { class: names });
      this.node.append(this.cells[id]);
    }
    this.cells.symbol.scope = "row";
    this.#fill(symbol);
  }

  // Show the newest of a symbol; score and regime are those of `horizon`.
  show(entry, horizons, horizon) {
    const { latest } = entry;
    write(this.cells.price, latest.price, price);
    for (const seconds of horizons) {
      write(this.cells[`sigma-${seconds}`], said(entry, seconds)?.sigma_annualised, volatility);
    }
    this.#score(said(entry, horizon)?.score ?? latest.score, latest.quality.verdict);
    this.#quality(latest.quality);
  }

  showAge(seconds, stale) {
    setText(this.cells.age, stale ? `${age(seconds)} · stale` : age(seconds));
    this.node.toggleAttribute("data-stale", stale);
  }

  line(points) {
    spark(this.canvas, points);
  }

  mark(chosen) {
    this.node.toggleAttribute("data-chosen", chosen);
    this.button.setAttribute("aria-pressed", String(chosen));
  }

  #fill(symbol) {
    this.button = h("button", { type: "button" }, symbol);
    this.canvas = h("canvas", { "aria-hidden": true });
    this.number = h("span", { class: "score-number" });
    this.bar = h("i");
    this.regime = h("span");
    const meter = h("span", { class: "meter", "aria-hidden": true }, h("i"), h("i"), h("i"), h("i"));
    const bar = h("span", { class: "score-bar", "aria-hidden": true }, this.bar);
    this.cells.symbol.append(this.button);
    this.cells.spark.append(this.canvas);
    this.cells.score.append(this.number, bar);
    this.cells.regime.append(meter, this.regime);
  }

  #score(score, verdict) {
    setData(this.cells.score, "value", String(score));
    setText(this.number, percent(score, 0));
    const width = `${Math.round(score * 100)}%`;
    if (this.bar.style.width !== width) this.bar.style.width = width;
    const regime = regimeOf(score, verdict);
    setText(this.regime, regime?.name ?? NONE);
    setData(this.cells.regime, "level", String(regime?.level ?? 0));
  }

  #quality(quality) {
    const worst = FAULTS.filter((name) => quality[name]).slice(0, 1);
    const words = [quality.verdict, ...worst.map((name) => `${quality[name]} ${name.replace("_", " ")}`)];
    setText(this.cells.quality, words.join(" · "));
    const counts = FAULTS.map((name) => `${name.replace("_", " ")} ${quality[name]}`).join(", ");
    const title = `${counts}; ${quality.ticks} ticks`;
    if (this.cells.quality.title !== title) this.cells.quality.title = title;
  }
}

// Write a number into its cell: formatted, and exact in a data attribute.
function write(cell, value, format) {
  if (value === undefined || cell.dataset.value === String(value)) return;
  cell.dataset.value = String(value);
  setText(cell, format(value));
}

// The table of symbols: its columns, sort order and filter.

import { byId, h, setText } from "./dom.js";
import { horizonName } from "./format.js";
import { Row, said } from "./row.js";

const SPARK_EVERY_MS = 1_000;
const SORT_EVERY_MS = 2_000;

const COLUMNS = [
  { id: "symbol", name: "Symbol", value: (e) => e.latest.symbol },
  { id: "price", name: "Price", value: (e) => e.latest.price },
  { id: "spark", name: "Recent" },
  { id: "score", name: "Spike", title: "Probability that volatility over the chosen horizon exceeds its usual 90 % quantile" },
  { id: "regime", name: "Regime", title: "calm below 5 %, usual below 25 %, raised below 50 %, turbulent above" },
  { id: "age", name: "Age", title: "Since the newest tick was processed" },
  { id: "quality", name: "Quality", title: "What is known of the feed: gaps, duplicates, late ticks; cold in the first minute, warming until a day is seen" },
];

export class Table {
  constructor(store, choose) {
    this.store = store;
    this.choose = choose;
    this.rows = new Map();
    this.sort = { id: "symbol", down: false };
    this.filter = "";
    this.horizons = [];
    this.horizon = 60;
    this.chosen = null;
    this.sorted = 0;
    this.scroll = byId("table-scroll");
    byId("filter").addEventListener("input", (event) => {
      this.filter = event.target.value.trim().toLowerCase();
      this.arrange();
    });
    byId("rows").addEventListener("keydown", (event) => this.#arrows(event));
  }

  // One volatility column per horizon that the service forecasts.
  setHorizons(horizons) {
    this.horizons = horizons;
    const sigmas = horizons.map((seconds) => ({
      id: `sigma-${seconds}`,
      name: `σ ${horizonName(seconds)}`,
      title: `Expected volatility of the next ${horizonName(seconds)}, as a yearly rate`,
      horizon: seconds,
      value: (entry) => said(entry, seconds)?.sigma_annualised ?? -1,
    }));
    this.columns = [...COLUMNS.slice(0, 3), ...sigmas, ...COLUMNS.slice(3)];
    const heads = this.columns.map((column) => this.#head(column));
    byId("table-head").replaceChildren(...heads);
    this.rows.clear();
    byId("rows").replaceChildren();
    this.#showSort();
  }

  setHorizon(seconds) {
    this.horizon = seconds;
    byId("table").dataset.horizon = String(this.horizons.indexOf(seconds));
    for (const symbol of this.rows.keys()) this.update(symbol, Date.now());
    this.arrange();
  }

  setChosen(symbol) {
    this.chosen = symbol;
    for (const [name, row] of this.rows) row.mark(name === symbol);
  }

  // Write the changes of a symbol.
  update(symbol, now) {
    const entry = this.store.get(symbol);
    if (!entry || !this.horizons.length) return;
    const row = this.rows.get(symbol) ?? this.#make(symbol);
    row.show(entry, this.horizons, this.horizon);
    if (now - row.drawn > SPARK_EVERY_MS && this.#visible(row.node)) {
      row.drawn = now;
      row.line(entry.spark);
    }
  }

  // Called once a second: updates ages, and the order less often.
  tick(now) {
    for (const [symbol, row] of this.rows) {
      const entry = this.store.get(symbol);
      if (!entry) continue;
      row.showAge(this.store.age(entry, now), entry.latest.stale);
    }
    if (now - this.sorted > SORT_EVERY_MS) this.arrange();
  }

  // Sort the rows, and hide those that the filter excludes.
  arrange() {
    this.sorted = Date.now();
    for (const symbol of this.rows.keys()) {
      if (!this.store.get(symbol)) this.#drop(symbol);
    }
    const names = [...this.rows.keys()].sort((a, b) => this.#compare(a, b));
    const body = byId("rows");
    let shown = 0;
    names.forEach((symbol, index) => {
      const { node } = this.rows.get(symbol);
      node.hidden = !symbol.toLowerCase().includes(this.filter);
      shown += node.hidden ? 0 : 1;
      if (body.children[index] !== node) body.insertBefore(node, body.children[index] ?? null);
    });
    const all = names.length;
    setText(byId("count"), shown === all ? String(all || "") : `${shown} of ${all}`);
    const empty = byId("empty");
    empty.hidden = shown > 0;
    if (all) setText(empty, "No symbol is called so.");
  }

  redraw() {
    for (const [symbol, row] of this.rows) row.line(this.store.get(symbol)?.spark ?? []);
  }

  #head(column) {
    const attributes = { scope: "col", class: `c-${column.id}`, title: column.title };
    if (column.horizon) attributes.class += " c-sigma";
    if (column.id === "spark") return h("th", attributes, column.name);
    const button = h("button", { type: "button" }, column.name);
    button.addEventListener("click", () => {
      const down = this.sort.id === column.id ? !this.sort.down : column.id !== "symbol";
      this.sort = { id: column.id, down };
      this.#showSort();
      this.arrange();
    });
    return h("th", { ...attributes, "data-sort": column.id }, button);
  }

  #showSort() {
    for (const head of byId("table-head").children) {
      const mine = head.dataset.sort === this.sort.id;
      if (mine) head.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  #make(symbol) {
    const row = new Row(symbol, this.columns);
    row.mark(symbol === this.chosen);
    row.node.addEventListener("click", () => this.choose(symbol));
    this.rows.set(symbol, row);
    byId("rows").append(row.node);
    this.sorted = 0;
    return row;
  }

  #drop(symbol) {
    this.rows.get(symbol).node.remove();
    this.rows.delete(symbol);
  }

  #visible(node) {
    const top = node.offsetTop - this.scroll.scrollTop;
    return !node.hidden && top > -40 && top < this.scroll.clientHeight + 40;
  }

  #compare(a, b) {
    const value = (symbol) => {
      const entry = this.store.get(symbol);
      if (this.sort.id === "score" || this.sort.id === "regime") {
        return said(entry, this.horizon)?.score ?? entry.latest.score;
      }
      if (this.sort.id === "age") return -entry.came + entry.latest.age_s * 1000;
      if (this.sort.id === "quality") return `${entry.latest.quality.verdict} ${entry.latest.quality.gaps}`;
      return this.columns.find((column) => column.id === this.sort.id).value(entry);
    };
    const [x, y] = [value(a), value(b)];
    const order = x < y ? -1 : x > y ? 1 : 0;
    return (this.sort.down ? -order : order) || (a < b ? -1 : 1);
  }

  // Up and down move by one symbol, home and end to the first and the last.
  #arrows(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (!step) return;
    event.preventDefault();
    const rows = [...byId("rows").children].filter((node) => !node.hidden);
    const at = rows.indexOf(event.target.closest("tr"));
    const next = rows[Math.min(rows.length - 1, Math.max(0, at + step))];
    next.querySelector("button").focus();
  }
}

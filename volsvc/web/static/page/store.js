// The store of all symbols: the newest answer, its time of arrival, and prices for a sparkline.

import { timeOf } from "./format.js";

const SPARK_MS = 5_000;
const SPARK_POINTS = 120;

export class Store {
  constructor() {
    this.symbols = new Map();
    this.events = 0;
  }

  // Replace everything by the first event of a stream: symbols that it lacks are gone.
  replace(list, now) {
    const names = new Set(list.map((latest) => latest.symbol));
    for (const name of this.symbols.keys()) if (!names.has(name)) this.symbols.delete(name);
    for (const latest of list) this.put(latest, now);
  }

  put(latest, now) {
    const time = timeOf(latest.as_of);
    let entry = this.symbols.get(latest.symbol);
    if (!entry) {
      entry = { latest, came: now, time, spark: [] };
      this.symbols.set(latest.symbol, entry);
    }
    Object.assign(entry, { latest, came: now, time });
    sparkle(entry.spark, time, latest.price);
    return entry;
  }

  // Return the age of the newest answer in seconds: the service's figure plus the time since arrival.
  age(entry, now) {
    return entry.latest.age_s + (now - entry.came) / 1000;
  }

  get(symbol) {
    return this.symbols.get(symbol);
  }
}

// Keep one price per five seconds, and the newest.
function sparkle(points, time, price) {
  const before = points.at(-2);
  if (before && time - before[0] < SPARK_MS) points.pop();
  points.push([time, price]);
  if (points.length > SPARK_POINTS) points.shift();
}

// Put prices from before the page was opened in front of those received since.
export function backfill(entry, forecasts) {
  const first = entry.spark[0]?.[0] ?? Infinity;
  const older = forecasts.map((said) => [timeOf(said.time), said.price]);
  entry.spark.unshift(...older.filter(([time]) => time < first));
  entry.spark.splice(0, entry.spark.length - SPARK_POINTS);
}

// The panels on the state of the service: objectives, feed and bus, drift.

import { byId, fill, h, pairs, row } from "./dom.js";
import { age, count, dayAndClock, fixed, NONE, percent, perSecond, timeOf } from "./format.js";
import { total } from "./exposition.js";
import { OBJECTIVES, SERIES as REQUEST_SERIES } from "./objectives.js";

const FEED_SERIES = [
  "volsvc_ticks_total",
  "volsvc_ticks_rejected_total",
  "volsvc_feed_reconnects_total",
  "volsvc_feed_missed_total",
  "volsvc_dlq_records_total",
  "volsvc_kafka_connected",
  "volsvc_kafka_consumer_lag_records",
  "volsvc_kafka_consumer_lag_seconds",
  "volsvc_event_loop_lag_seconds",
];

export const SERIES = [...REQUEST_SERIES, ...FEED_SERIES];

export function showObjectives(known) {
  const rows = OBJECTIVES.map(({ name, objective, what, kept }) => {
    const share = kept(known);
    const state = share === null ? "no data" : share >= objective ? "kept" : "missed";
    const digits = objective > 0.99 ? 1 : 0;
    const shown = share === null ? NONE : percent(Math.floor(share * 1e5) / 1e5, share === 1 ? 0 : 2);
    return { cells: [name, percent(objective, digits), shown, state], what, state };
  });
  fill(byId("slo").tBodies[0], rows, ({ cells, what, state }) => {
    const made = row(cells, { title: what });
    made.lastChild.className = `state state-${state.replace(" ", "-")}`;
    return made;
  });
}

let ticksBefore = null;

export function showFeed(samples, now) {
  const ticks = total(samples, "volsvc_ticks_total") ?? 0;
  const rate = ticksBefore && ticks >= ticksBefore.ticks
    ? (ticks - ticksBefore.ticks) / ((now - ticksBefore.now) / 1000)
    : null;
  ticksBefore = { ticks, now };
  const lag = total(samples, "volsvc_kafka_consumer_lag_records");
  const behind = total(samples, "volsvc_kafka_consumer_lag_seconds");
  const figures = [
    ["Ticks", rate === null ? NONE : perSecond(rate), `${count(ticks)} since the start`],
    ["Taken in", count(ticks), "ticks that became features"],
    ["Refused", count(total(samples, "volsvc_ticks_rejected_total") ?? 0), "duplicates, late ones, rows that are no ticks"],
    ["Lost", count(total(samples, "volsvc_feed_missed_total") ?? 0), "trades and messages that a venue did not deliver again"],
    ["Reconnects", count(total(samples, "volsvc_feed_reconnects_total") ?? 0), "of a live feed"],
    ["Bus lag", lag === null ? "in process" : count(lag), behind === null ? "records that wait" : `${age(behind)} behind`],
  ];
  pairs(byId("feed"), figures);
}

// Every part with its detail, the worst first.
export function showChecks(health) {
  const order = { fail: 0, degraded: 1, ok: 2 };
  const checks = Object.entries(health.checks)
    .map(([name, { status, detail }]) => ({ name, status, detail }))
    .sort((a, b) => order[a.status] - order[b.status] || (a.name < b.name ? -1 : 1));
  fill(byId("checks"), checks, ({ name, status, detail }) =>
    h("li", { "data-status": status }, h("b", {}, name), h("span", { class: `state state-${status}` }, status),
      h("span", { class: "note" }, detail)),
  );
}

export function showDrift(drift) {
  const items = [];
  if (!drift.enabled) {
    items.push(["State", "not checked here"]);
  } else {
    const { last, gathered, reference } = drift;
    const drifted = last?.drifted ?? [];
    items.push(["State", !last ? "no window judged yet" : drifted.length ? `${drifted.length} features drift` : "none"]);
    if (drifted.length) items.push(["Features", drifted.slice(0, 6).join(", ") + (drifted.length > 6 ? "…" : "")]);
    if (last) items.push(["Newest window", `to ${dayAndClock(timeOf(last.end))} UTC, ${count(last.rows)} rows`]);
    items.push(["Gathered", `${count(gathered.rows)} rows for the next`]);
    items.push(["Window", `${age(drift.interval_s)} of event time`]);
    items.push(["Reference", `${count(reference.rows)} rows, from ${reference.start}`]);
    items.push(["False alarms", `${fixed(drift.false_alarms_per_week, 1)} a week allowed`]);
  }
  pairs(byId("drift"), items);
}

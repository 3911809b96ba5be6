// The objectives (docs/slo.md) and how well they were met since the service started. Alerts use time
// windows and belong to Prometheus; this is an overview.

import { total } from "./exposition.js";

const REQUESTS = "http_server_request_duration_seconds";
const FRESH_S = 60;
const LEAST_JUDGED = 240;
const COVERAGE = [0.8, 0.98];

export const SERIES = [`${REQUESTS}_count`, `${REQUESTS}_bucket`];

export const OBJECTIVES = [
  { name: "availability", objective: 0.999, what: "answers of /predict and /latest without a server error", kept: available },
  { name: "latency", objective: 0.95, what: "answers of /predict within 800 ms", kept: within("0.8") },
  { name: "latency-tight", objective: 0.99, what: "answers of /predict within 100 ms", kept: within("0.1") },
  { name: "freshness", objective: 0.99, what: `symbols whose newest answer is at most ${FRESH_S} s old, now`, kept: fresh },
  { name: "forecast-quality", objective: 0.9, what: `symbols and horizons with at least ${LEAST_JUDGED} judged forecasts whose 90 % band holds 80 to 98 % of outcomes`, kept: honest },
];

function available({ samples }) {
  const ours = ({ http_route: route }) => route === "/predict" || route.startsWith("/latest");
  const failed = (labels) => ours(labels) && labels.http_response_status_code.startsWith("5");
  const all = total(samples, `${REQUESTS}_count`, ours);
  return all ? 1 - (total(samples, `${REQUESTS}_count`, failed) ?? 0) / all : null;
}

function within(limit) {
  return ({ samples }) => {
    const ours = ({ http_route: route }) => route === "/predict";
    const all = total(samples, `${REQUESTS}_count`, ours);
    const quick = total(samples, `${REQUESTS}_bucket`, (l) => ours(l) && l.le === limit);
    return all ? quick / all : null;
  };
}

function fresh({ ages }) {
  return ages.length ? ages.filter((age) => age <= FRESH_S).length / ages.length : null;
}

function honest({ quality, variant }) {
  const rows = (quality?.symbols ?? []).filter((r) => r.variant === variant && r.n >= LEAST_JUDGED);
  const good = rows.filter((r) => r.coverage >= COVERAGE[0] && r.coverage <= COVERAGE[1]);
  return rows.length ? good.length / rows.length : null;
}

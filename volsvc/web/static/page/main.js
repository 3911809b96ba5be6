// The page: the stream fills the store, and each animation frame draws the changes since the last.

import { readAddress, writeAddress } from "./address.js";
import { Api } from "./api.js";
import { readColours } from "./chart.js";
import { choice, keyDialog, themeButton } from "./controls.js";
import { Detail } from "./detail.js";
import { byId, setData, setText } from "./dom.js";
import { samplesOf } from "./exposition.js";
import { age, horizonName, perSecond } from "./format.js";
import { Changes, ModelPanel } from "./model.js";
import { tryForm } from "./predict.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { Table } from "./table.js";
import { SERIES, showChecks, showDrift, showFeed, showObjectives } from "./watch.js";

const QUIET_S = 10; // a symbol without events for this long is requested, to learn whether it is stale
const RATE_S = 5;

const api = new Api();
const address = readAddress();
const store = new Store();
const dirty = new Set();
const known = { samples: [], quality: null, variant: "ml" };
let frame = null;
let wanted = address.symbol; // until it comes, or somebody chooses another one
let horizons = [];
let usualHorizon = null;
let connection = "connecting";
let lostAt = null;
let received = [];

const askKey = keyDialog(api, () => stream.restart());
const detail = new Detail(store, api, remember);
const table = new Table(store, choose);
const changes = new Changes();
const model = new ModelPanel(api, { askKey, onSwitched: () => loadChanges() });
const stream = new Stream(api, { onEvent, onState });

// --- events -------------------------------------------------------------------------------------

function onEvent(kind, data) {
  const now = Date.now();
  received.push(now);
  if (kind === "resync") resync(data.symbols, now);
  else if (kind === "forecast") heard(data, now);
  else if (kind === "model") swapped(data);
  else if (kind === "gap") gap(data);
  else if (kind === "drift") drifted(data);
}

function resync(symbols, now) {
  store.replace(symbols, now);
  const reconnected = detail.symbol !== null;
  if (symbols.length && !horizons.length) useHorizons(symbols[0]);
  if (store.get(wanted)) choose(wanted);
  for (const latest of symbols) noticed(latest);
  table.arrange();
  if (reconnected) detail.reload();
}

function heard(latest, now) {
  store.put(latest, now);
  noticed(latest);
}

function noticed(latest) {
  if (!horizons.length) useHorizons(latest);
  if (latest.symbol === wanted) choose(wanted);
  if (!detail.symbol) show(latest.symbol);
  else if (latest.symbol === detail.symbol) detail.add(latest);
  dirty.add(latest.symbol);
  frame ??= requestAnimationFrame(paint);
}

function swapped(news) {
  model.heard(news);
  known.variant = news.variant;
  detail.setVariant(news.variant);
  detail.mark("swap", `${news.variant}-${news.version} serves (${news.trigger})`);
  changes.add("swap", `${news.kind}: ${news.variant}-${news.version} (${news.trigger})${news.reason ? `, ${news.reason}` : ""}`);
  loadModels();
}

function gap(news) {
  const lost = news.trades ? `, ${news.trades} trades lost` : news.messages ? `, ${news.messages} messages lost` : "";
  changes.add("gap", `gap in the feed of ${news.symbol || "a connection"}${lost}`);
  if (!news.symbol || news.symbol === detail.symbol) detail.mark("gap", `gap in the feed${lost}`);
}

function drifted(news) {
  const features = news.drifted.length ? `: ${news.drifted.join(", ")}` : "";
  changes.add("drift", `drift check, ${news.drifted.length} features${features}`);
  loadDrift();
}

// --- frames -------------------------------------------------------------------------------------

function paint() {
  frame = null;
  const now = Date.now();
  for (const symbol of dirty) table.update(symbol, now);
  if (dirty.has(detail.symbol)) detail.update();
  dirty.clear();
  if (table.sorted === 0) table.arrange();
}

function tick() {
  const now = Date.now();
  received = received.filter((time) => now - time < RATE_S * 1000);
  setText(byId("rate"), `${perSecond(received.length / RATE_S)} events`);
  byId("rate").dataset.value = String(received.length / RATE_S);
  showConnection(now);
  if (document.hidden) return;
  table.tick(now);
  detail.tick(now);
}

function choose(symbol) {
  wanted = null;
  show(symbol);
}

function show(symbol) {
  detail.choose(symbol);
  table.update(symbol, Date.now());
  table.setChosen(symbol);
  remember();
}

function remember() {
  if (!detail.symbol) return;
  const horizon = detail.horizon === usualHorizon ? null : detail.horizon;
  writeAddress(detail.symbol, { horizon, ...detail.panel.chosen });
}

function useHorizons(latest) {
  horizons = latest.predictions.map((one) => one.horizon_s);
  usualHorizon = latest.predictions.find((one) => one.score === latest.score)?.horizon_s ?? horizons[0];
  const asked = Number(address.horizon);
  const chosen = horizons.includes(asked) ? asked : usualHorizon;
  table.setHorizons(horizons);
  choice(byId("horizons"), horizons.map((seconds) => [seconds, horizonName(seconds)]), chosen, useHorizon);
  useHorizon(chosen);
}

function useHorizon(seconds) {
  table.setHorizon(seconds);
  detail.setHorizon(seconds);
  remember();
}

// --- the connection -----------------------------------------------------------------------------

const WORDS = { connecting: "Connecting", live: "Live", lost: "Reconnecting", locked: "A key is needed" };

function onState(state) {
  if (state === "live" && connection !== "live") loadAll();
  if (state === "locked" && connection !== "locked") askKey("The service asks for a key of scope read.");
  if (state !== "live") lostAt ??= Date.now();
  else lostAt = null;
  connection = state;
  showConnection(Date.now());
}

// Old numbers must never look current.
function showConnection(now) {
  const entries = [...store.symbols.values()];
  const stale = entries.filter((entry) => entry.latest.stale).length;
  const allStale = entries.length > 0 && stale === entries.length;
  const state = connection === "live" && allStale ? "stale" : connection;
  const status = byId("connection");
  setText(status, state === "stale" ? "Stale" : WORDS[state]);
  setData(status, "state", state);
  document.body.toggleAttribute("data-old", state !== "live" && entries.length > 0);
  const banner = byId("banner");
  const old = lostAt === null ? 0 : (now - lostAt) / 1000;
  banner.hidden = !(entries.length && (allStale || old > 2));
  if (banner.hidden) return;
  setText(banner, allStale && connection === "live"
    ? "The feed has gone quiet: no symbol has had news for longer than allowed."
    : `No connection to the service. Numbers are those of ${age(old)} ago.`);
}

// --- periodic requests -------------------------------------------------------------------------------

async function quietly(work) {
  try {
    return await work();
  } catch {
    return null; // The state of the connection shows the failure.
  }
}

const loadModels = () => quietly(async () => {
  const state = await api.get("/models");
  model.show(state);
  known.variant = state.serving.variant;
  detail.setVariant(known.variant);
});
const loadChanges = () => quietly(async () => changes.load((await api.get("/models/history?limit=20")).entries));
const loadDrift = () => quietly(async () => showDrift(await api.get("/drift")));

const loadHealth = () => quietly(async () => {
  const response = await fetch("/health", { signal: AbortSignal.timeout(10_000) });
  const health = await response.json();
  showChecks(health);
  setText(byId("health"), health.status === "ok" ? "healthy" : health.status);
  setData(byId("health"), "status", health.status);
});

const loadQuality = () => quietly(async () => {
  const quality = await api.get("/quality");
  const symbol = detail.symbol;
  if (symbol && quality.symbols_left_out && !quality.symbols.some((row) => row.symbol === symbol)) {
    const one = await api.get(`/quality?symbol=${encodeURIComponent(symbol)}`);
    quality.symbols.push(...one.symbols);
  }
  known.quality = quality;
  detail.setQuality(quality);
  model.setQuality(quality);
});

const loadMetrics = () => quietly(async () => {
  const names = SERIES.map((name) => `name[]=${name}`).join("&");
  known.samples = samplesOf(await api.text(`/metrics?${names}`));
  showFeed(known.samples, Date.now());
  const now = Date.now();
  const ages = [...store.symbols.values()].map((entry) => store.age(entry, now));
  showObjectives({ ...known, ages });
});

const loadVersion = () => quietly(async () => {
  const version = await api.get("/version");
  setText(byId("build"), `volsvc ${version.version}${version.sha && version.sha !== "unknown" ? ` · ${version.sha.slice(0, 9)}` : ""}`);
});

// Request symbols without events for long, to learn whether they are stale.
const loadQuiet = () => quietly(async () => {
  const now = Date.now();
  const quiet = [...store.symbols.values()].filter((entry) => now - entry.came > QUIET_S * 1000);
  if (!quiet.length) return;
  const [first] = quiet;
  const one = async () => [await api.get(`/latest/${encodeURIComponent(first.latest.symbol)}`)];
  const all = async () => (await api.get("/latest")).symbols;
  for (const latest of await (quiet.length > 1 ? all() : one())) heard(latest, Date.now());
});

function loadAll() {
  for (const load of [loadModels, loadHealth, loadQuality, loadMetrics, loadDrift, loadChanges, loadVersion]) load();
}

// A hidden tab is not drawn; one that becomes visible is drawn at once.
function every(seconds, load) {
  setInterval(() => document.hidden || connection !== "live" || load(), seconds * 1000);
}

readColours();
themeButton(() => {
  readColours();
  detail.panel.themed();
  table.redraw();
});
tryForm(api, { newest: () => store.get(detail.symbol)?.latest, askKey });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/INPUT|TEXTAREA/.test(event.target.tagName)) {
    event.preventDefault();
    byId("filter").focus();
  }
});
document.addEventListener("visibilitychange", () => document.hidden || (connection === "live" && loadAll()));
setInterval(tick, 1_000);
every(5, loadHealth);
setTimeout(loadMetrics, 2_000); // rates need two samples
every(10, loadMetrics);
every(10, loadQuality);
every(30, loadModels);
every(60, loadDrift);
every(2, loadQuiet);
window.addEventListener("hashchange", () => location.reload()); // somebody has followed or written a link
detail.panel.follow(address);
stream.run();

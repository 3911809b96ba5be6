// The track record of the selected symbol at a horizon: skill and coverage by day, and whether spikes
// come as often as was said.

import { trouble } from "./api.js";
import { Chart, ticksOf } from "./chart.js";
import { byId, fill, pairs, row, setText } from "./dom.js";
import { fixed, horizonName, NONE, percent } from "./format.js";

const DAYS = 30;
const DAY_MS = 86_400_000;
const REFRESH_MS = 600_000;
const RETRY_MS = 5_000;
const FEW = 30; // a mean over fewer has little meaning
const NOMINAL = 0.9;
const LEAST_SKILL = -1; // a day may be worse: it is cut off, or it would flatten all others

const EXPECTED = { kind: "line", colour: "muted", width: 1, dash: [4, 4], hole: Infinity };

const nodes = (id) => byId(id).tBodies[0];
const whole = (value) => percent(value, 0);

export class TrackRecord {
  constructor(api) {
    this.api = api;
    this.asked = ""; // symbol and horizon
    this.record = null;
    this.problem = null;
    this.due = 0;
    this.skill = new Chart(byId("plot-skill"), { format: whole });
    this.coverage = new Chart(byId("plot-coverage"), { format: whole });
    const across = (from, to, wanted) => ticksOf(from, to, wanted).map((at) => [at, whole(at)]);
    this.reliability = new Chart(byId("plot-reliability"), { format: whole, across, zero: true });
    for (const chart of this.#charts) chart.onResize = () => this.draw();
  }

  get #charts() {
    return [this.skill, this.coverage, this.reliability];
  }

  // Load what is shown, unless it is there and young.
  async show(symbol, horizonS) {
    const asked = `${symbol} ${horizonS}`;
    if (asked === this.asked && Date.now() < this.due) return;
    if (asked !== this.asked) this.record = null;
    this.asked = asked;
    this.due = Infinity;
    this.running?.abort();
    const { signal } = (this.running = new AbortController());
    const query = new URLSearchParams({ symbol, horizon: String(horizonS), days: String(DAYS) });
    try {
      const { horizons } = await this.api.get(`/track-record?${query}`, { signal });
      if (signal.aborted) return;
      [this.record, this.problem] = [horizons[0], null];
    } catch (problem) {
      if (signal.aborted) return;
      this.problem = problem;
    }
    this.due = Date.now() + (this.record?.days.length || this.problem?.notKept ? REFRESH_MS : RETRY_MS);
    this.#tell();
    for (const chart of this.#charts) chart.forget();
    this.draw();
  }

  draw() {
    if (!this.record?.days.length || document.hidden) return;
    this.#byDay();
    const bins = this.record.reliability.filter(({ n }) => n >= FEW);
    const points = bins.map(({ score, spikes }) => [score, spikes]);
    const layers = [
      { ...EXPECTED, points: [[0, 0], [1, 1]] },
      { kind: "line", points, colour: "accent" },
      { kind: "dots", points, colour: "accent" },
    ];
    const most = Math.max(0.2, ...points.flat());
    this.reliability.draw({ from: 0, to: Math.min(1, most * 1.1), layers, values: [0, most] });
  }

  #byDay() {
    const days = this.record.days.filter(({ n }) => n >= FEW).map((one) => ({ ...one, time: Date.parse(one.day) }));
    if (!days.length) return;
    const stretch = { from: days[0].time, to: days.at(-1).time + DAY_MS, hole: DAY_MS };
    const level = (value) => ({ ...EXPECTED, points: [[stretch.from, value], [stretch.to, value]] });
    const curve = (value, style) => {
      const points = days.map((one) => [one.time + DAY_MS / 2, value(one)]).filter(([, at]) => at !== null);
      return [{ kind: "line", points, ...style }, { kind: "dots", points, colour: style.colour }];
    };
    const valuesOf = (layers) => layers.flatMap(({ points }) => points.map(([, value]) => Math.max(LEAST_SKILL, value)));
    const skills = [
      ...curve((one) => skillOf(one, "baseline"), { colour: "muted", dash: [3, 2] }),
      ...curve((one) => skillOf(one, "ml"), { colour: "accent" }),
    ];
    this.skill.draw({ ...stretch, layers: [level(0), ...skills], values: [0, ...valuesOf(skills)] });
    const covered = curve((one) => one.coverage, { colour: "accent" });
    this.coverage.draw({ ...stretch, layers: [level(NOMINAL), ...covered], values: [NOMINAL, 1, ...valuesOf(covered)] });
  }

  #tell() {
    const { record, problem } = this;
    byId("track").hidden = !record?.days.length;
    setText(byId("track-note"), problem ? trouble(problem) : record.days.length ? "" : "No forecast that is kept has matured yet.");
    if (!record?.days.length) return;
    const { total, days, reliability } = record;
    setText(byId("track-about"), `Skill is what a model saves of the loss (QLIKE) of an EWMA with a half-life of ${horizonName(record.ewma_half_life_s)}, `
      + "the best of five over all these days in hindsight: above 0 % is better than that.");
    pairs(byId("track-total"), [
      ["Forecasts", fixed(total.n, 0), `of ${horizonName(record.horizon_s)} that matured in the last ${DAYS} days`],
      ["In the 90 % band", percent(total.coverage)],
      ["Brier score of spikes", fixed(total.brier, 4), "lower is better"],
      ["Skill of ml", percent(skillOf(total, "ml"))],
      ["Skill of the baseline", percent(skillOf(total, "baseline"))],
      ["QLIKE of the EWMA", fixed(total.qlike.ewma.mean, 3)],
    ]);
    fill(nodes("track-days"), days.toReversed(), dayRow);
    fill(nodes("track-bins"), reliability.filter(({ n }) => n), binRow);
  }
}

// Return what a model saves of the EWMA's loss; null without forecasts of it.
function skillOf({ qlike }, model) {
  const [own, ewma] = [qlike[model].mean, qlike.ewma.mean];
  return own === null || !ewma ? null : 1 - own / ewma;
}

function dayRow(one) {
  const { day, n, coverage, qlike } = one;
  const losses = ["ml", "baseline", "ewma"].map((model) => fixed(qlike[model].mean, 3));
  const skill = n < FEW ? NONE : whole(skillOf(one, "ml"));
  return row([day.slice(5), fixed(n, 0), whole(coverage), ...losses, skill], n < FEW ? { "data-few": "", title: "too few to say much" } : {});
}

function binRow({ lo, hi, n, score, spikes }) {
  return row([`${fixed(lo * 100, 0)} – ${whole(hi)}`, fixed(n, 0), percent(score), percent(spikes)], n < FEW ? { "data-few": "" } : {});
}

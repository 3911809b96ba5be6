// The two tabs of the selected symbol: the charts over a range of time, and the track record. Both show
// what the store keeps, the charts with the live series behind it.

import { Charts } from "./charts.js";
import { tabs } from "./controls.js";
import { byId } from "./dom.js";
import { Past } from "./past.js";
import { Ranges } from "./ranges.js";
import { TrackRecord } from "./trackrecord.js";
import { USUAL, View } from "./view.js";

const SETTLE_MS = 100;
const TABS = { charts: "tab-charts", track: "tab-track" };

export class Panel {
  // onChoice is called after a change of the range, the zoom or the tab.
  constructor(api, onChoice) {
    this.onChoice = onChoice;
    this.what = null; // { series, latest, variant }
    this.view = new View();
    this.past = new Past(api);
    this.charts = new Charts(this.view, () => this.#viewed());
    this.ranges = new Ranges(this.charts);
    this.track = new TrackRecord(api);
    this.tab = TABS.charts;
    this.settling = null;
    this.selectTab = tabs(byId("tabs"), (id) => this.#tabbed(id));
  }

  // Return what an address keeps of the choices, null for what is usual.
  get chosen() {
    const { range, part } = this.view;
    return {
      range: range === USUAL ? null : range,
      from: part && minuteOf(part.from),
      to: part && minuteOf(part.to),
      tab: this.tab === TABS.charts ? null : "track",
    };
  }

  // Choose what an address says.
  follow({ range, from, to, tab }) {
    this.view.choose(range);
    if (Date.parse(from) < Date.parse(to)) this.view.show(Date.parse(from), Date.parse(to));
    this.selectTab(TABS[tab] ?? TABS.charts);
  }

  // Show another symbol from the next `draw` on.
  forget() {
    this.what = null;
    this.past.forget();
    this.charts.forget();
  }

  draw(series, latest, variant) {
    this.what = { series, latest, variant };
    this.charts.draw({ ...this.what, past: this.past });
  }

  setHorizon(seconds) {
    this.charts.setHorizon(seconds);
    this.load();
  }

  themed() {
    this.charts.paint();
    this.track.draw();
  }

  // Load what is missing; called once a second.
  tick(now) {
    if (!this.what) return;
    const { part } = this.view;
    // A part of the past stays as it is, once it has come.
    const moves = !part || part.to >= this.what.series.end || !this.past.rows.length;
    if (this.tab === TABS.track || (moves && now >= this.past.due)) this.load();
  }

  async load() {
    const { series } = this.what ?? {};
    if (!series?.end) return;
    const { horizon } = this.charts;
    if (this.tab === TABS.track) return this.track.show(series.symbol, horizon);
    await this.past.load(series.symbol, horizon, this.view.wanted(series.end, horizon * 1000));
    this.#show();
  }

  #show() {
    this.ranges.show(this.past.note);
    this.charts.paint();
  }

  // A held key or a quick hand changes the view often, and needs the rows of the last one.
  #viewed() {
    this.#show();
    this.onChoice();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.load(), SETTLE_MS);
  }

  #tabbed(id) {
    this.tab = id;
    byId("view-tools").hidden = id !== TABS.charts;
    this.onChoice();
    this.load();
  }
}

const minuteOf = (ms) => `${new Date(ms).toISOString().slice(0, 16)}Z`;

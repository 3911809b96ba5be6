// The active model, the buttons to change it, and the list of changes.

import { byId, fill, h, pairs, setData, setText } from "./dom.js";
import { dayAndClock, fixed, NONE, timeOf } from "./format.js";

const ARMED_MS = 5_000;
const MOST_CHANGES = 40;

export class ModelPanel {
  constructor(api, { askKey, onSwitched }) {
    this.api = api;
    this.askKey = askKey;
    this.onSwitched = onSwitched;
    this.state = null;
    this.quality = null;
    this.buttons = [
      this.#button("baseline", () => this.#put("baseline")),
      this.#button("ml", () => this.#put("ml")),
      this.#button("rollback", () => this.api.send("POST", "/models/rollback")),
    ];
    byId("switch").append(...this.buttons.map(({ node }) => node));
  }

  // Show an answer of /models, or the model event of the stream that came before it.
  show(state) {
    this.state = state;
    this.#show();
  }

  heard({ variant, version, fallback, reason }) {
    const model = `${variant}-${version}`;
    const serving = { ...(this.state?.serving ?? {}), model, variant, version, fallback, reason };
    this.show({ ...(this.state ?? { variants: [], previous: null, guard: null }), serving });
  }

  setQuality(quality) {
    this.quality = quality;
    this.#show();
  }

  #show() {
    if (!this.state) return;
    const { serving, previous, variants } = this.state;
    const chip = byId("serving");
    setText(chip, serving.fallback ? `${serving.model} · fallback` : serving.model);
    setData(chip, "status", serving.fallback ? "degraded" : "ok");
    const others = variants.filter((one) => one.state !== "serving" && one.variant !== serving.variant);
    const items = [
      ["Serves", serving.model],
      ["Asked for", serving.requested ?? NONE],
      ["Fallback", serving.fallback ? (serving.reason ?? "yes") : "no"],
      ["Beside it", others.map((one) => `${one.variant}-${one.version} (${one.state})`).join(", ") || "none"],
      ["Before", previous ?? "none"],
      ...this.#guard(),
    ];
    pairs(byId("model"), items);
    for (const { id, node } of this.buttons) node.disabled = id === serving.variant && !serving.fallback;
    this.buttons[2].node.disabled = previous === null;
  }

  #guard() {
    if (!this.quality) return [];
    const { guard, recommendation } = this.quality;
    const least = guard.least_forecasts;
    const ratio = guard.ratio === null ? "nothing judged yet" : `QLIKE ${fixed(guard.ratio, 2)} × baseline`;
    const said = guard.forecasts < least ? `, ${guard.forecasts} of ${least} forecasts` : "";
    const stops = `; stops ml at ${fixed(guard.fallback_ratio, 1)}`;
    const advice = recommendation.action === "promote" ? `promote ${recommendation.challenger}` : "keep";
    return [
      ["Guard", guard.stopped ? `has stopped ml: ${ratio}` : ratio + said + stops],
      ["Evidence", `${advice} (e-value ${fixed(recommendation.e_value, 2)}, ${recommendation.pairs} pairs)`],
    ];
  }

  // Changing the service takes two clicks, the second within a few seconds.
  #button(id, act) {
    const name = id === "rollback" ? "Roll back" : `Serve ${id}`;
    const node = h("button", { type: "button", "data-switch": id }, name);
    let armed = null;
    const disarm = () => {
      clearTimeout(armed);
      armed = null;
      node.removeAttribute("data-armed");
      setText(node, name);
    };
    node.addEventListener("blur", disarm);
    node.addEventListener("click", async () => {
      if (armed === null) {
        armed = setTimeout(disarm, ARMED_MS);
        node.setAttribute("data-armed", "");
        setText(node, "Really?");
        return;
      }
      disarm();
      await this.#act(act);
    });
    return { id, node };
  }

  async #act(act) {
    const note = byId("switch-note");
    setText(note, "Switching…");
    try {
      this.show(await act());
      setText(note, `${this.state.serving.model} serves`);
      this.onSwitched();
    } catch (problem) {
      setText(note, `Refused: ${problem.message}`);
      if (problem.locked) this.askKey("This needs a key of scope admin.");
    }
  }

  #put(variant) {
    return this.api.send("PUT", "/models/active", { variant });
  }
}

// Changes and gaps, newest first: from the audit log, and from the stream as they happen.
export class Changes {
  constructor() {
    this.items = [];
  }

  load(entries) {
    const known = this.items.filter((item) => !item.journal);
    const past = entries.map((entry) => ({
      time: timeOf(entry.time),
      kind: "swap",
      journal: true,
      text: `${entry.kind}: ${entry.model} (${entry.trigger})${entry.reason ? `, ${entry.reason}` : ""}`,
    }));
    this.items = [...known.filter((item) => item.kind !== "swap"), ...past];
    this.#show();
  }

  add(kind, text) {
    this.items.push({ time: Date.now(), kind, text });
    this.#show();
  }

  #show() {
    this.items.sort((a, b) => b.time - a.time);
    this.items.splice(MOST_CHANGES);
    fill(byId("changes"), this.items, ({ time, kind, text }) =>
      h("li", { "data-kind": kind }, h("time", { datetime: new Date(time).toISOString() }, dayAndClock(time)),
        h("span", {}, text)),
    );
  }
}

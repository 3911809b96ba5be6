// The form for trying POST /predict.

import { byId, h, pairs } from "./dom.js";
import { band, horizonName, percent, volatility, yearly } from "./format.js";

export function tryForm(api, { newest, askKey }) {
  const form = byId("try");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await send(api, form, askKey);
  });
  byId("try-fill").addEventListener("click", () => {
    const latest = newest();
    if (!latest) return;
    for (const name of ["ret_mean", "ret_std", "n", "span_s", "symbol"]) {
      form.elements[name].value = String(latest[name]);
    }
  });
}

function bodyOf(form) {
  const row = {};
  for (const name of ["ret_mean", "ret_std", "n", "span_s"]) {
    const text = form.elements[name].value.trim();
    if (text) row[name] = Number(text);
  }
  const symbol = form.elements.symbol.value.trim();
  const horizon = form.elements.horizon_s.value.trim();
  return { rows: [symbol ? { ...row, symbol } : row], ...(horizon ? { horizon_s: Number(horizon) } : {}) };
}

async function send(api, form, askKey) {
  const answer = byId("try-answer");
  try {
    const said = await api.send("POST", "/predict", bodyOf(form));
    const [one] = said.predictions;
    const list = h("dl", { class: "figures" });
    pairs(list, [
      ["Volatility a year", volatility(one.sigma_annualised)],
      ["90 % band", band(yearly(one.lo, said.horizon_s), yearly(one.hi, said.horizon_s))],
      ["Spike", percent(said.scores[0], 1)],
      ["Ahead", horizonName(said.horizon_s)],
      ["Model", `${said.model_variant}-${said.version}`],
      ["Quality", one.quality],
    ]);
    answer.replaceChildren(list);
  } catch (problem) {
    answer.replaceChildren(h("p", { class: "note error" }, problem.message));
    if (problem.locked) askKey("This needs a key of scope predict.");
  }
}

// Controls for the key, the theme and the horizon.

import { byId, h, setText } from "./dom.js";
import { horizonName } from "./format.js";

const THEMES = ["auto", "light", "dark"];
const KEPT = "volsvc-theme";

export function keyDialog(api, onChange) {
  const dialog = byId("key-dialog");
  const field = byId("key");
  const use = (key) => {
    api.key = key;
    field.value = "";
    dialog.close();
    onChange();
  };
  const ask = (why = "") => {
    setText(byId("key-note"), why || (api.key ? "A key is in use." : "No key is in use."));
    if (!dialog.open) dialog.showModal();
    field.focus();
  };
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) use(field.value.trim());
  });
  byId("key-forget").addEventListener("click", () => use(""));
  byId("key-cancel").addEventListener("click", () => dialog.close());
  byId("key-button").addEventListener("click", () => ask());
  return ask;
}

export function themeButton(onChange) {
  const button = byId("theme-button");
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    setText(button, `Theme: ${theme}`);
    onChange();
  };
  let theme = THEMES.includes(localStorage.getItem(KEPT)) ? localStorage.getItem(KEPT) : "auto";
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem(KEPT, theme);
    apply(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", onChange);
  apply(theme);
}

export function horizonChoice(horizons, chosen, onChange) {
  const choices = horizons.map((seconds) => {
    const input = h("input", { type: "radio", name: "horizon", value: String(seconds) });
    input.checked = seconds === chosen;
    input.addEventListener("change", () => onChange(seconds));
    return h("label", {}, input, h("span", {}, horizonName(seconds)));
  });
  const legend = byId("horizons").querySelector("legend");
  byId("horizons").replaceChildren(legend, ...choices);
}

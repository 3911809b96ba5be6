// Controls for the key and the theme, choices of one among a few, and tabs.

import { byId, h, setText } from "./dom.js";

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

// Fill a set of fields with a button for each [value, name], of which one is chosen.
export function choice(fields, options, chosen, onChange) {
  const { name } = fields.dataset;
  const choices = options.map(([value, text]) => {
    const input = h("input", { type: "radio", name, value });
    input.checked = value === chosen;
    input.addEventListener("change", () => onChange(value));
    return h("label", {}, input, h("span", {}, text));
  });
  fields.replaceChildren(fields.querySelector("legend"), ...choices);
}

// Tabs of which one panel is shown: arrows move between them. Return a function that selects one.
export function tabs(list, onSelect) {
  const nodes = [...list.children];
  const select = (chosen) => {
    for (const node of nodes) {
      node.setAttribute("aria-selected", String(node === chosen));
      node.tabIndex = node === chosen ? 0 : -1;
      byId(node.getAttribute("aria-controls")).hidden = node !== chosen;
    }
    onSelect(chosen.id);
  };
  for (const node of nodes) node.addEventListener("click", () => select(node));
  list.addEventListener("keydown", ({ key }) => {
    if (key !== "ArrowLeft" && key !== "ArrowRight") return;
    const next = nodes[(nodes.indexOf(document.activeElement) + (key === "ArrowRight" ? 1 : nodes.length - 1)) % nodes.length];
    next.focus();
    select(next);
  });
  return (id) => select(byId(id));
}

// DOM helpers that write only what has changed.

export const byId = (id) => document.getElementById(id);

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setData(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

// h("td", { class: "number", title: "…" }, "text", child, …)
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children);
  return node;
}

// Fill a list with a row per item, and leave rows with the same content untouched.
export function fill(list, items, make) {
  items.forEach((item, index) => {
    const same = JSON.stringify(item);
    const old = list.children[index];
    if (old?.dataset.same === same) return;
    const node = make(item);
    node.dataset.same = same;
    if (old) old.replaceWith(node);
    else list.append(node);
  });
  while (list.children.length > items.length) list.lastElementChild.remove();
}

// Return a table row; its first cell is the heading.
export function row(cells, attributes = {}) {
  const nodes = cells.map((cell, index) =>
    index ? h("td", {}, cell) : h("th", { scope: "row" }, cell),
  );
  return h("tr", attributes, ...nodes);
}

// Fill a description list with pairs.
export function pairs(list, items) {
  fill(list, items, ([name, value, title]) =>
    h("div", { title }, h("dt", {}, name), h("dd", {}, value)),
  );
}

// Return a bar for a share of 1; the text beside it gives the value.
export function bar(share) {
  const inner = h("i");
  inner.style.width = `${Math.round(share * 100)}%`;
  return h("span", { class: "score-bar", "aria-hidden": true }, inner);
}

// The buttons above the charts: the range, and the zoom for those who do not drag.

import { choice } from "./controls.js";
import { byId, setText } from "./dom.js";
import { RANGES } from "./view.js";

const ZOOMS = {
  earlier: (view, stretch) => view.shift(-1 / 2, stretch),
  later: (view, stretch) => view.shift(1 / 2, stretch),
  in: (view, stretch) => view.scale(1 / 2, pivot(view, stretch), stretch),
  out: (view, stretch) => view.scale(2, pivot(view, stretch), stretch),
  back: (view) => view.back(),
};

export class Ranges {
  constructor(charts) {
    this.view = charts.view;
    const names = RANGES.map((range) => [range, range.replace(/(?=[hd])/, " ")]);
    choice(byId("ranges"), names, this.view.range, (range) => {
      this.view.choose(range);
      charts.viewed();
    });
    for (const button of byId("zoom").children) {
      button.addEventListener("click", () => charts.change(ZOOMS[button.dataset.zoom]));
    }
  }

  // Show what the view shows, and a note on the rows.
  show(note) {
    for (const input of byId("ranges").querySelectorAll("input")) input.checked = input.value === this.view.range;
    byId("zoom").toggleAttribute("data-zoomed", this.view.part !== null);
    setText(byId("past-note"), note);
  }
}

// The time that stays where it is: the newest end of a range, the middle of a part.
function pivot({ part }, { from, to, now }) {
  return part ? (from + to) / 2 : now;
}

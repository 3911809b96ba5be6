// A parser for the part of Prometheus' text format that this page needs.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

// Return a list of { name, labels, value }.
export function samplesOf(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : LINE.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(LABEL)) labels[name] = value;
    samples.push({ name: match[1], labels, value: Number(match[3]) });
  }
  return samples;
}

// Return the sum over a name's samples whose labels pass; null if there are none.
export function total(samples, name, passes = () => true) {
  const found = samples.filter((sample) => sample.name === name && passes(sample.labels));
  return found.length ? found.reduce((sum, { value }) => sum + value, 0) : null;
}

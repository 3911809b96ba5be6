// Prometheus' text format, as far as this page asks for it.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

// A list of { name, labels, value }.
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

// The sum over the samples of a name whose labels pass; null where there is none.
export function total(samples, name, passes = () => true) {
  const found = samples.filter((sample) => sample.name === name && passes(sample.labels));
  return found.length ? found.reduce((sum, { value }) => sum + value, 0) : null;
}

// Formats of numbers, times and words, shared by all parts of the page.

export const YEAR_S = 31_557_600; // crypto never closes
export const NONE = "–";

// Regimes by the probability that volatility exceeds its usual 90 % quantile.
export const REGIMES = [
  { from: 0.5, name: "turbulent", level: 4 },
  { from: 0.25, name: "raised", level: 3 },
  { from: 0.05, name: "usual", level: 2 },
  { from: 0, name: "calm", level: 1 },
];

// Return the regime of a score; null for a symbol that is cold, of which a score says nothing yet.
export function regimeOf(score, verdict) {
  if (verdict === "cold") return null;
  return REGIMES.find((regime) => score >= regime.from) ?? REGIMES.at(-1);
}

export function horizonName(seconds) {
  if (seconds % 3600 === 0) return `${seconds / 3600} h`;
  if (seconds % 60 === 0) return `${seconds / 60} min`;
  return `${seconds} s`;
}

// Return a volatility per sqrt(horizon) as an annual rate.
export function yearly(sigma, horizonS) {
  return sigma * Math.sqrt(YEAR_S / horizonS);
}

const formats = new Map();

export function fixed(value, digits) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (!formats.has(digits)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" };
    formats.set(digits, new Intl.NumberFormat("en-US", options));
  }
  return formats.get(digits).format(value).replace("-", "−");
}

// Prices: two decimals for large ones, more for small ones, at least five digits.
export function price(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? 2 : Math.min(10, Math.max(2, 4 - Math.floor(Math.log10(size || 1))));
  return fixed(value, digits);
}

export function percent(share, digits = 1) {
  if (share === null || share === undefined || !Number.isFinite(share)) return NONE;
  return `${fixed(share * 100, digits)} %`;
}

// Annual volatilities: more than three digits would not be significant.
export function volatility(value) {
  return percent(value, value >= 0.9995 ? 0 : value >= 0.1 ? 1 : 2);
}

// A band of annual volatilities, with the unit once.
export function band(low, high) {
  return `${volatility(low).replace(" %", "")} – ${volatility(high)}`;
}

export function count(value) {
  if (!Number.isFinite(value)) return NONE;
  if (value >= 1e6) return `${fixed(value / 1e6, 2)} M`;
  return fixed(value, 0);
}

export function perSecond(value) {
  return `${fixed(value, value < 10 ? 1 : 0)}/s`;
}

export function age(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  if (seconds < 60) return `${Math.floor(Math.max(0, seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

export function clock(ms, seconds = true) {
  return new Date(ms).toISOString().slice(11, seconds ? 19 : 16);
}

export function day(ms) {
  return new Date(ms).toISOString().slice(5, 10);
}

export function dayAndClock(ms) {
  return `${day(ms)} ${clock(ms, false)}`;
}

// Not every browser's Date parses nanoseconds.
export function timeOf(text) {
  return Date.parse(text.replace(/(\.\d{3})\d+/, "$1"));
}

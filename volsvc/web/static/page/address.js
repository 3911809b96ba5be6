// The part of the address behind "#": the symbol and what is chosen for it, so that a link keeps them.

// Return { symbol, range, horizon, tab, from, to } as texts, as far as they are there.
export function readAddress() {
  const [symbol, rest = ""] = location.hash.slice(1).split("?");
  return { ...Object.fromEntries(new URLSearchParams(rest)), symbol: decodeURIComponent(symbol) };
}

// What is null is usual and left out.
export function writeAddress(symbol, chosen) {
  const rest = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value !== null));
  history.replaceState(null, "", `#${encodeURIComponent(symbol)}${rest.size ? `?${rest}` : ""}`);
}

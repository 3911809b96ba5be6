// Requests to the service that this page came from. The key is kept in this tab only: it is never part
// of an address, and is gone when the tab is closed.

const KEPT = "volsvc-key";
const TIMEOUT_MS = 10_000;

export class Problem extends Error {
  constructor(status, fields) {
    const faults = (fields.errors ?? []).map((fault) => `${fault.pointer} ${fault.detail}`);
    super(faults.length ? faults.join("; ") : (fields.detail ?? fields.title ?? `status ${status}`));
    this.status = status;
    this.notKept = fields.type === "/problems/not-kept";
    this.locked = status === 401 || status === 403;
  }
}

// Return why the past is not shown.
export function trouble(problem) {
  if (problem.notKept) return `No past is kept here: ${problem.message}.`;
  return `The past could not be loaded: ${problem.message}. It is tried again.`;
}

export class Api {
  get key() {
    return sessionStorage.getItem(KEPT) ?? "";
  }

  set key(value) {
    if (value) sessionStorage.setItem(KEPT, value);
    else sessionStorage.removeItem(KEPT);
  }

  // Return the answer to a request; throws Problem if it is refused.
  async ask(path, { headers = {}, ...options } = {}) {
    const key = this.key;
    const own = key ? { Authorization: `Bearer ${key}` } : {};
    const response = await fetch(path, { ...options, headers: { ...headers, ...own } });
    if (!response.ok) {
      const fields = await response.json().catch(() => ({}));
      throw new Problem(response.status, fields);
    }
    return response;
  }

  // `signal` gives the request up before its time.
  async get(path, { signal } = {}) {
    const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])];
    return (await this.ask(path, { signal: AbortSignal.any(signals) })).json();
  }

  async text(path) {
    return (await this.ask(path, { signal: AbortSignal.timeout(TIMEOUT_MS) })).text();
  }

  async send(method, path, body) {
    const signal = AbortSignal.timeout(20_000);
    const headers = { "Content-Type": "application/json" };
    const text = body === undefined ? undefined : JSON.stringify(body);
    return (await this.ask(path, { method, headers, body: text, signal })).json();
  }
}

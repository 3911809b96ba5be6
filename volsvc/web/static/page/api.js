// Requests to the service that this page came from. The key is kept in this tab only: it is never part
// of an address, and is gone when the tab is closed.

const KEPT = "volsvc-key";

export class Problem extends Error {
  constructor(status, fields) {
    const faults = (fields.errors ?? []).map((fault) => `${fault.pointer} ${fault.detail}`);
    super(faults.length ? faults.join("; ") : (fields.detail ?? fields.title ?? `status ${status}`));
    this.status = status;
    this.locked = status === 401 || status === 403;
  }
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

  async get(path, timeoutMs = 10_000) {
    const response = await this.ask(path, { signal: AbortSignal.timeout(timeoutMs) });
    return response.json();
  }

  async text(path, timeoutMs = 10_000) {
    return (await this.ask(path, { signal: AbortSignal.timeout(timeoutMs) })).text();
  }

  async send(method, path, body) {
    const signal = AbortSignal.timeout(20_000);
    const headers = { "Content-Type": "application/json" };
    const text = body === undefined ? undefined : JSON.stringify(body);
    return (await this.ask(path, { method, headers, body: text, signal })).json();
  }
}

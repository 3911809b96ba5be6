// Server-Sent Events over fetch, because EventSource cannot send a key. It reconnects by itself with
// the id of the last event, so that missed events follow, and detects connections that died silently
// (after a laptop was suspended, for example).

const SILENT_MS = 40_000; // the service sends at least a comment every 15 s
const MOST_MS = 10_000;
const LOCKED_MS = 60_000; // a new key ends the wait at once

// Call back with each event of a text that arrives in pieces: (type, data, id).
export function parser(onEvent, onRetry) {
  let rest = "";
  return (piece) => {
    const blocks = (rest + piece).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = {};
      for (const line of block.split("\n")) {
        const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
        if (name) fields[name] = name in fields ? `${fields[name]}\n${value}` : value;
      }
      if (fields.retry) onRetry(Number(fields.retry));
      if (fields.data !== undefined) onEvent(fields.event ?? "message", fields.data, fields.id);
    }
  };
}

export class Stream {
  // onState is called with "connecting", "live", "lost" or "locked".
  constructor(api, { onEvent, onState }) {
    this.api = api;
    this.onEvent = onEvent;
    this.onState = onState;
    this.lastId = null;
    this.lastByte = 0;
    this.retryMs = 2_000;
    this.failures = 0;
    this.connection = null;
    this.wake = () => {};
  }

  async run() {
    setInterval(() => this.#watch(), 5_000);
    document.addEventListener("visibilitychange", () => this.#returned());
    window.addEventListener("online", () => this.wake());
    for (;;) {
      try {
        await this.#once();
        this.onState("lost");
        await this.#pause(this.retryMs); // the service's retry hint, which spreads reconnections
      } catch (error) {
        this.onState(error.locked ? "locked" : "lost");
        await this.#pause(error.locked ? LOCKED_MS : this.#backoff());
      }
    }
  }

  // Start again, for example with another key.
  restart() {
    this.lastId = null;
    this.connection?.abort();
    this.wake();
  }

  async #once() {
    this.connection = new AbortController();
    const headers = this.lastId ? { "Last-Event-ID": this.lastId } : {};
    const options = { headers, signal: this.connection.signal, cache: "no-store" };
    this.lastByte = Date.now();
    const response = await this.api.ask("/stream", options);
    const parse = parser(
      (kind, data, id) => {
        this.lastId = id ?? this.lastId;
        this.onEvent(kind, JSON.parse(data));
      },
      (ms) => (this.retryMs = ms),
    );
    this.onState("live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.failures = 0;
      this.lastByte = Date.now();
      parse(value);
    }
  }

  // Exponential backoff with jitter, so that pages do not reconnect all at once.
  #backoff() {
    const ceiling = Math.min(MOST_MS, this.retryMs * 2 ** this.failures++);
    return ceiling * (0.25 + 0.75 * Math.random());
  }

  #pause(ms) {
    return new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, ms);
    });
  }

  #watch() {
    if (Date.now() - this.lastByte > SILENT_MS) this.connection?.abort();
  }

  // A tab that was suspended checks at once, not at its next timer.
  #returned() {
    if (document.hidden) return;
    this.#watch();
    this.wake();
  }
}

// What the page asks of the server. Every answer that is no success becomes an Error with the
// server's own message.

export class Api {
  constructor(key) {
    this.key = key; // a function, for the key may be typed in later
  }

  async get(path) {
    return (await this.#send(path, {})).json();
  }

  async post(path, body) {
    return (await this.#post(path, body)).json();
  }

  // The events of a stream, parsed; ends with the stream.
  async *stream(path, body, signal) {
    const reply = await this.#post(path, body, signal);
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event.slice("data: ".length);
        if (data === "[DONE]") return;
        const parsed = JSON.parse(data);
        if (parsed.error) throw new Error(parsed.error.message);
        yield parsed;
      }
    }
  }

  #post(path, body, signal) {
    const headers = { "content-type": "application/json" };
    return this.#send(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  async #send(path, options) {
    const headers = { ...options.headers };
    if (this.key()) headers.authorization = `Bearer ${this.key()}`;
    const reply = await fetch(path, { ...options, headers });
    if (reply.ok) return reply;
    const error = await reply.json().catch(() => null);
    throw new Error(error?.error?.message ?? `${path}: ${reply.status} ${reply.statusText}`);
  }
}

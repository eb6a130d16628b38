// Tokens as coloured pieces of text: how sure the model was, and whether it decided at all.

export const LEGENDS = {
  plain: [],
  probability: [
    ["transparent", "sure"],
    ["color-mix(in srgb, var(--alarm) 55%, transparent)", "unlikely"],
  ],
  origin: [
    ["var(--generated)", "chosen by the model"],
    ["var(--forced)", "forced by the constraint"],
    ["var(--cached)", "prompt from the cache"],
  ],
};

// Shows an answer token by token. A character may be spread over several tokens, so bytes are held
// back until they are whole; and tokens are ahead of the text, which ends before a stop.
export class TokenView {
  #element;
  #decoder = new TextDecoder();
  #waiting = [];
  #missing = 0; // characters of the answer that have no token yet
  forced = 0;
  count = 0;

  constructor(element) {
    this.#element = element;
  }

  // `text` is what the answer has grown by, `entries` the tokens that came with it.
  add(text, entries) {
    this.#missing += text.length;
    for (const entry of entries) {
      const bytes = Uint8Array.from(entry.bytes ?? []);
      this.#waiting.push({ entry, text: this.#decoder.decode(bytes, { stream: true }) });
    }
    while (this.#waiting.length && this.#waiting[0].text.length <= this.#missing) {
      const token = this.#waiting.shift();
      this.#missing -= token.text.length;
      this.#show(token.entry, token.text);
    }
  }

  #show(entry, text) {
    this.count += 1;
    this.forced += entry.forced ? 1 : 0;
    if (!text) return;
    const probability = Math.exp(entry.logprob);
    const token = document.createElement("span");
    token.className = entry.forced ? "token forced" : "token";
    token.style.setProperty("--doubt", (1 - probability).toFixed(3));
    token.title = describe(entry, probability);
    token.textContent = text;
    this.#element.append(token);
  }
}

function describe(entry, probability) {
  const lines = [`${percent(probability)} ${JSON.stringify(entry.token)}`];
  if (entry.forced) lines[0] += ", forced by the constraint";
  for (const rival of entry.top_logprobs ?? []) {
    if (rival.token !== entry.token) {
      lines.push(`${percent(Math.exp(rival.logprob))} ${JSON.stringify(rival.token)}`);
    }
  }
  return lines.join("\n");
}

export function percent(part) {
  return `${(100 * part).toFixed(part > 0 && part < 0.01 ? 2 : 0)} %`;
}

export function showLegend(element, colouring) {
  const parts = LEGENDS[colouring].map(([colour, meaning]) => {
    const part = document.createElement("span");
    const sample = document.createElement("i");
    sample.style.background = colour;
    part.append(sample, meaning);
    return part;
  });
  element.replaceChildren(...parts);
  element.hidden = parts.length === 0;
}

// The page: a chat with the served model, its settings, and the two views beside it.

import { Api } from "./api.js";
import { LiveView } from "./live.js";
import { TokenView, showLegend } from "./tokens.js";

const EXAMPLES = {
  json_schema: JSON.stringify(
    {
      type: "object",
      properties: {
        name: { type: "string", maxLength: 30 },
        age: { type: "integer", minimum: 0, maximum: 120 },
        hobbies: { type: "array", items: { type: "string", maxLength: 20 }, maxItems: 3 },
      },
      required: ["name", "age", "hobbies"],
      additionalProperties: false,
    },
    null,
    2,
  ),
  regex: "(Yes|No), because [a-z ]{10,60}\\.",
};
const RIVALS = 3; // likeliest other tokens shown for each

const id = (name) => document.getElementById(name);
const api = new Api(() => id("key").value.trim());
const messages = [];
let running = null; // aborts the answer that is being written

new LiveView(api, id("live"));

// ---------------------------------------------------------------- the settings

for (const slider of document.querySelectorAll('input[type="range"]')) {
  const shown = document.querySelector(`output[for="${slider.id}"]`);
  const show = () => (shown.textContent = Number(slider.value).toFixed(2));
  slider.addEventListener("input", show);
  show();
}

id("constraint").addEventListener("change", () => {
  const kind = id("constraint").value;
  id("grammar").hidden = kind === "none";
  id("grammar").value = EXAMPLES[kind] ?? "";
  complain(null);
});

id("colouring").addEventListener("change", (event) => {
  document.body.dataset.colour = event.target.value;
  showLegend(id("legend"), event.target.value);
});

function constraint() {
  const text = id("grammar").value;
  switch (id("constraint").value) {
    case "json_schema": {
      const schema = JSON.parse(text);
      return {
        response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema } },
      };
    }
    case "regex":
      return { regex: text };
    default:
      return {};
  }
}

function complain(message) {
  id("grammar_error").textContent = message ?? "";
  id("grammar_error").hidden = message === null;
}

// ---------------------------------------------------------------- the conversation

id("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});

id("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});

id("stop").addEventListener("click", () => running?.abort());

id("clear").addEventListener("click", () => {
  running?.abort();
  messages.length = 0;
  id("log").replaceChildren();
  id("message").focus();
});

async function send() {
  const text = id("message").value.trim();
  if (!text || running) return;
  let limits;
  try {
    limits = constraint();
    complain(null);
  } catch (error) {
    complain(`This is not JSON: ${error.message}`);
    return;
  }
  id("message").value = "";
  messages.push({ role: "user", content: text });
  turn("user", "You").said.textContent = text;
  await answer(limits);
}

async function answer(limits) {
  const { element, said, facts } = turn("assistant", id("model").textContent);
  const system = id("system").value.trim();
  const conversation = system ? [{ role: "system", content: system }, ...messages] : [...messages];
  const tokens = new TokenView(said);
  const started = performance.now();
  let first = null;
  let usage = null;
  busy(true, element);
  try {
    const body = { ...sampling(), ...limits, messages: conversation, model: "default" };
    for await (const chunk of api.stream("v1/chat/completions", body, running.signal)) {
      first ??= performance.now();
      usage = chunk.usage ?? usage;
      const choice = chunk.choices[0];
      if (choice) tokens.add(choice.delta.content ?? "", choice.logprobs?.content ?? []);
      scroll();
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      element.classList.add("error");
      said.append(error.message);
    }
  }
  busy(false, element);
  messages.push({ role: "assistant", content: said.textContent });
  const seconds = (performance.now() - (first ?? started)) / 1000;
  facts.textContent = describe(usage, tokens, (first ?? started) - started, seconds);
  if (usage) await showPrompt(element, conversation, usage);
  scroll();
}

function sampling() {
  const seed = id("seed").value;
  return {
    temperature: Number(id("temperature").value),
    top_p: Number(id("top_p").value),
    max_tokens: Number(id("max_tokens").value),
    ...(seed === "" ? {} : { seed: Number(seed) }),
    stream: true,
    stream_options: { include_usage: true },
    logprobs: true,
    top_logprobs: RIVALS,
  };
}

function describe(usage, tokens, waited, seconds) {
  if (!usage) return tokens.count ? "stopped" : "";
  const cached = usage.prompt_tokens_details.cached_tokens;
  const parts = [
    `${usage.completion_tokens} tokens`,
    `${(usage.completion_tokens / Math.max(seconds, 0.001)).toFixed(0)} tok/s`,
    `first after ${waited.toFixed(0)} ms`,
    `${cached} of ${usage.prompt_tokens} prompt tokens cached`,
  ];
  if (tokens.forced) parts.push(`${tokens.forced} forced`);
  return parts.join(" · ");
}

// The prompt as the model got it; what the cache held of it is marked.
async function showPrompt(element, conversation, usage) {
  const { tokens } = await api.post("tokenize", { messages: conversation });
  const cached = usage.prompt_tokens_details.cached_tokens;
  const parts = [tokens.slice(0, cached), tokens.slice(cached)];
  const { text } = await api.post("detokenize", { tokens: parts, skip_special_tokens: false });
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = "Prompt";
  summary.className = "muted";
  const prompt = document.createElement("div");
  prompt.className = "prompt";
  const known = document.createElement("span");
  known.className = "cached";
  known.textContent = text[0];
  prompt.append(known, text[1]);
  details.append(summary, prompt);
  element.append(details);
}

function turn(role, who) {
  id("log").querySelector(".empty")?.remove();
  const element = document.createElement("article");
  element.className = `turn ${role}`;
  const [name, said, facts] = ["who", "said", "facts"].map((part) => {
    const child = document.createElement("div");
    child.className = part;
    element.append(child);
    return child;
  });
  name.textContent = who;
  id("log").append(element);
  scroll();
  return { element, said, facts };
}

function busy(isBusy, element) {
  running = isBusy ? new AbortController() : null;
  element.classList.toggle("busy", isBusy);
  id("send").hidden = isBusy;
  id("stop").hidden = !isBusy;
}

function scroll() {
  id("log").scrollTop = id("log").scrollHeight;
}

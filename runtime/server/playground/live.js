// The server as it works: throughput, queue, cache, and the tree of cached prefixes.

import { percent } from "./tokens.js";

const PERIOD_MS = 1000;
const SAMPLES = 120;
const TREE_NODES = 60;
const SHOWN_TEXT = 60;

export class LiveView {
  #api;
  #rates = [];
  #generated = null; // tokens and time of the last look

  constructor(api, panel) {
    this.#api = api;
    const look = async () => {
      if (panel.open && !document.hidden) await this.#look();
      setTimeout(look, PERIOD_MS);
    };
    look();
  }

  async #look() {
    try {
      const info = await this.#api.get("server_info");
      this.#figures(info.internal_states[0]);
      id("model").textContent = info.served_model_name;
      health("up", "the server is up");
    } catch (error) {
      health("down", error.message);
      return;
    }
    try {
      this.#tree(await this.#api.get(`radix_tree?nodes=${TREE_NODES}`));
    } catch (error) {
      id("cached").textContent = error.message; // only the admin key opens it, where there is one
    }
  }

  #figures(state) {
    const now = performance.now();
    const tokens = state.generated_tokens;
    const last = this.#generated;
    const rate = last ? (1000 * (tokens - last.tokens)) / (now - last.now) : 0;
    this.#generated = { tokens, now };
    this.#rates = [...this.#rates, Math.max(rate, 0)].slice(-SAMPLES);
    id("throughput").textContent = rate.toFixed(0);
    id("running").textContent = state.num_running_reqs;
    id("waiting").textContent = state.num_queue_reqs + state.num_grammar_queue_reqs;
    id("hits").textContent = percent(state.cache_hit_rate);
    const most = Math.max(...this.#rates, 1);
    const points = this.#rates.map((value, i) => {
      const x = 240 - 2 * (this.#rates.length - 1 - i);
      return `${x},${(44 - 40 * (value / most)).toFixed(1)}`;
    });
    id("spark").innerHTML = `<path d="M${points.join("L")}"/>`;
  }

  #tree(tree) {
    id("cached").textContent =
      `${tree.total_tokens.toLocaleString()} tokens, ${tree.num_nodes.toLocaleString()} nodes`;
    const top = document.createDocumentFragment();
    const lists = [];
    for (const node of tree.nodes) {
      const item = document.createElement("li");
      item.append(row(node));
      const parent = node.parent === null ? top : (lists[node.parent].list ??= nested(lists[node.parent].item));
      parent.append(item);
      lists.push({ item, list: null });
    }
    id("tree").replaceChildren(top);
  }
}

function row(node) {
  const line = document.createElement("div");
  line.className = node.lock_ref ? "busy" : "";
  const text = document.createElement("span");
  text.className = "text";
  text.textContent = JSON.stringify(node.text.slice(0, SHOWN_TEXT)).slice(1, -1);
  const size = document.createElement("span");
  size.className = "size";
  size.textContent = `${node.num_tokens} tok, ${node.hit_count} hits`;
  line.append(text, size);
  return line;
}

function nested(item) {
  const list = document.createElement("ul");
  item.append(list);
  return list;
}

function health(state, label) {
  id("health").className = `dot ${state}`;
  id("health").ariaLabel = label;
  id("health").title = label;
}

function id(name) {
  return document.getElementById(name);
}

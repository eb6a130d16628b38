"""The programs of the SGLang paper, each written twice: in the language, and as plain HTTP calls.

Zheng et al. 2024, "SGLang: Efficient Execution of Structured Language Model Programs", section 6.
Every text comes from a fixed seed. Both forms show the model the same prompts and ask for as many
tokens; the plain one makes its calls one after another, as a script does.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

import sglang_lang as sgl
from benchmarks.workloads import SCHEMA, sentence

Variables = dict[str, Any]


class Api:
    """Plain calls to a server, one at a time.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=600)

    def generate(self, text: str, max_tokens: int, **constraint: Any) -> str:
        params = {"max_new_tokens": max_tokens, "temperature": 0, **constraint}
        if not constraint:
            params["ignore_eos"] = True
        return str(self._post("/generate", {"text": text, "sampling_params": params})["text"])

    def chat(self, messages: Sequence[Mapping[str, str]], max_tokens: int) -> str:
        body = {"model": "default", "messages": messages, "max_tokens": max_tokens}
        body |= {"temperature": 0, "ignore_eos": True}
        answer = self._post("/v1/chat/completions", body)
        return str(answer["choices"][0]["message"]["content"])

    def select(self, text: str, choices: Sequence[str]) -> str:
        """The choice with the highest mean logprob: a call for the prompt, and one for each."""
        only_prompt = {"text": text, "sampling_params": {"max_new_tokens": 0}}
        start = self._post("/generate", only_prompt)["meta_info"]["prompt_tokens"]

        def score(choice: str) -> float:
            body = {"return_logprob": True, "logprob_start_len": start}
            body |= only_prompt | {"text": text + choice}
            tokens = self._post("/generate", body)["meta_info"]["input_token_logprobs"]
            return float(sum(logprob for logprob, *_ in tokens) / len(tokens))

        return max(choices, key=score)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        response = self._client.post(path, json=body)
        response.raise_for_status()
        return response.json()


@dataclass(frozen=True, slots=True)
class Workload:
    """A program, its plain form, and the arguments of each run."""

    name: str
    program: sgl.SglFunction
    plain: Callable[..., Variables]
    items: list[Variables]


def words(*key: object, count: int) -> str:
    return sentence(random.Random(repr(key)), count)


# --------------------------------------------------------------------------- few-shot select

TOPICS = [" travel", " weather", " music", " sports"]
SHOTS = "".join(
    f"Text: {words('shot', i, count=24)}.\nTopic:{TOPICS[i % len(TOPICS)]}\n\n" for i in range(20)
)


@sgl.function
def few_shot_select(s: sgl.ProgramState, text: str) -> None:
    s += SHOTS
    s += f"Text: {text}\nTopic:" + sgl.select("topic", TOPICS)


def plain_few_shot_select(api: Api, text: str) -> Variables:
    return {"topic": api.select(f"{SHOTS}Text: {text}\nTopic:", TOPICS)}


# --------------------------------------------------------------------------- tree of thought

TREE_TASK = f"Solve it in two steps, and rate each step. {words('tree', count=80)}\nProblem: "
WIDTH, KEPT, DEPTH = 3, 2, 2
RATINGS = [" bad", " fair", " good"]


@sgl.function
def tree_of_thought(s: sgl.ProgramState, problem: str) -> None:
    s += TREE_TASK + problem + "\n"
    level = [s]
    for _ in range(DEPTH):
        thoughts = [fork for state in level for fork in state.fork(WIDTH)]
        for i, thought in enumerate(thoughts):
            thought += f"Idea {i % WIDTH}:" + sgl.gen("step", max_tokens=16) + "\nThis is"
            thought += sgl.select("rating", RATINGS) + "\n"
        level = sorted(thoughts, key=lambda t: RATINGS.index(t["rating"]), reverse=True)[:KEPT]
    s["steps"] = [state["step"] for state in level]


def plain_tree_of_thought(api: Api, problem: str) -> Variables:
    level = [(f"{TREE_TASK}{problem}\n", "", "")]
    for _ in range(DEPTH):
        thoughts = []
        for text, *_ in level:
            for i in range(WIDTH):
                idea = f"{text}Idea {i}:"
                step = api.generate(idea, 16)
                idea += f"{step}\nThis is"
                rating = api.select(idea, RATINGS)
                thoughts.append((f"{idea}{rating}\n", step, rating))
        level = sorted(thoughts, key=lambda t: RATINGS.index(t[2]), reverse=True)[:KEPT]
    return {"steps": [step for _, step, _ in level]}


# --------------------------------------------------------------------------- skeleton of thought

NUM_POINTS = 5


@sgl.function
def skeleton_of_thought(s: sgl.ProgramState, question: str) -> None:
    s += f"Question: {question}\nSkeleton:" + sgl.gen("skeleton", max_tokens=24)
    points = s.fork(NUM_POINTS)
    points += lambda i: f"\nPoint {i + 1} in full:" + sgl.gen("point", max_tokens=32)
    points.join()


def plain_skeleton_of_thought(api: Api, question: str) -> Variables:
    text = f"Question: {question}\nSkeleton:"
    skeleton = api.generate(text, 24)
    points = [
        api.generate(f"{text}{skeleton}\nPoint {i + 1} in full:", 32) for i in range(NUM_POINTS)
    ]
    return {"skeleton": skeleton, "point": points}


# --------------------------------------------------------------------------- LLM judge

DIMENSIONS = ("clarity", "originality", "evidence", "style")
GRADES = [" A", " B", " C", " D"]


@sgl.function
def judge(s: sgl.ProgramState, essay: str) -> None:
    s += f"Judge this essay.\n{essay}\n"
    views = s.fork(len(DIMENSIONS))
    views += lambda i: f"Its {DIMENSIONS[i]}:" + sgl.gen("view", max_tokens=24)
    views.join()
    for dimension, view in zip(DIMENSIONS, s["view"], strict=True):
        s += f"Its {dimension}:{view}\n"
    s += "Grade:" + sgl.select("grade", GRADES)


def plain_judge(api: Api, essay: str) -> Variables:
    text = f"Judge this essay.\n{essay}\n"
    views = [api.generate(f"{text}Its {dimension}:", 24) for dimension in DIMENSIONS]
    for dimension, view in zip(DIMENSIONS, views, strict=True):
        text += f"Its {dimension}:{view}\n"
    return {"view": views, "grade": api.select(f"{text}Grade:", GRADES)}


# --------------------------------------------------------------------------- ReAct agents

AGENT_TASK = "".join(
    f"Question: {words('react', i, count=16)}?\nThought: {words('thought', i, count=12)}\n"
    f"Act: look up\nObservation: {words('found', i, count=16)}\n"
    f"Answer: {words('answer', i, count=4)}\n\n"
    for i in range(6)
)
TOOLS = [" look up", " search", " compute"]
NUM_STEPS = 3


@sgl.function
def react(s: sgl.ProgramState, question: str) -> None:
    s += AGENT_TASK
    s += f"Question: {question}?\n"
    for step in range(NUM_STEPS):
        s += "Thought:" + sgl.gen(f"thought_{step}", max_tokens=20) + "\nAct:"
        s += sgl.select(f"tool_{step}", TOOLS)
        s += f"\nObservation: {words(question, s[f'tool_{step}'], step, count=16)}\n"
    s += "Answer:" + sgl.gen("answer", max_tokens=12)


def plain_react(api: Api, question: str) -> Variables:
    text = f"{AGENT_TASK}Question: {question}?\n"
    known: Variables = {}
    for step in range(NUM_STEPS):
        thought = known[f"thought_{step}"] = api.generate(f"{text}Thought:", 20)
        text += f"Thought:{thought}\nAct:"
        tool = known[f"tool_{step}"] = api.select(text, TOOLS)
        text += f"{tool}\nObservation: {words(question, tool, step, count=16)}\n"
    return {**known, "answer": api.generate(f"{text}Answer:", 12)}


# --------------------------------------------------------------------------- JSON

EXTRACTION = f"Write down whom the page is about, as JSON. {words('json', count=60)}\n\nPage: "


@sgl.function
def extract_json(s: sgl.ProgramState, page: str) -> None:
    s += EXTRACTION
    s += page + "\nJSON: " + sgl.gen("person", max_tokens=120, json_schema=SCHEMA, ignore_eos=False)


def plain_extract_json(api: Api, page: str) -> Variables:
    schema = json.dumps(SCHEMA)
    return {"person": api.generate(f"{EXTRACTION}{page}\nJSON: ", 120, json_schema=schema)}


# --------------------------------------------------------------------------- multi-turn chat

SYSTEM = f"You are a guide. {words('system', count=60)}"


@sgl.function
def multi_turn_chat(s: sgl.ProgramState, questions: list[str]) -> None:
    s += sgl.system(SYSTEM)
    for i, question in enumerate(questions):
        s += sgl.user(question)
        s += sgl.assistant(sgl.gen(f"answer_{i}", max_tokens=24))


def plain_multi_turn_chat(api: Api, questions: list[str]) -> Variables:
    messages = [{"role": "system", "content": SYSTEM}]
    known: Variables = {}
    for i, question in enumerate(questions):
        messages.append({"role": "user", "content": question})
        known[f"answer_{i}"] = api.chat(messages, 24)
        messages.append({"role": "assistant", "content": known[f"answer_{i}"]})
    return known


# --------------------------------------------------------------------------- RAG

PASSAGES = [words("passage", i, count=60) for i in range(12)]
INSTRUCTION = f"Answer from the passages alone. {words('rag', count=60)}\n\n"


def retrieved(question: str) -> str:
    """The three passages that share most words with the question, in a fixed order."""
    asked = set(question.split())
    best = sorted(PASSAGES, key=lambda passage: -len(asked & set(passage.split())))[:3]
    return "".join(f"Passage: {passage}\n" for passage in sorted(best))


@sgl.function
def rag(s: sgl.ProgramState, question: str) -> None:
    s += INSTRUCTION
    s += f"{retrieved(question)}Question: {question}?\nAnswer:" + sgl.gen("answer", max_tokens=24)


def plain_rag(api: Api, question: str) -> Variables:
    text = f"{INSTRUCTION}{retrieved(question)}Question: {question}?\nAnswer:"
    return {"answer": api.generate(text, 24)}


# --------------------------------------------------------------------------- all of them


def items(argument: str, runs: int, count: int) -> list[Variables]:
    return [{argument: words(argument, i, count=count)} for i in range(runs)]


def conversations(runs: int, turns: int) -> list[Variables]:
    return [
        {"questions": [words("turn", i, turn, count=30) for turn in range(turns)]}
        for i in range(runs)
    ]


WORKLOADS = [
    Workload("few-shot select", few_shot_select, plain_few_shot_select, items("text", 16, 24)),
    Workload("tree of thought", tree_of_thought, plain_tree_of_thought, items("problem", 2, 40)),
    Workload(
        "skeleton of thought",
        skeleton_of_thought,
        plain_skeleton_of_thought,
        items("question", 2, 30),
    ),
    Workload("LLM judge", judge, plain_judge, items("essay", 4, 250)),
    Workload("ReAct agents", react, plain_react, items("question", 6, 16)),
    Workload("JSON", extract_json, plain_extract_json, items("page", 8, 100)),
    Workload("multi-turn chat", multi_turn_chat, plain_multi_turn_chat, conversations(5, 4)),
    Workload("RAG", rag, plain_rag, items("question", 12, 12)),
]

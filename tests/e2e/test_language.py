"""Programs on the embedded model: the compiler, joins, choices and templates, token for token."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pydantic
import pytest

import sglang_lang as sgl
from sglang_lang.backends.base import BaseBackend
from sglang_lang.runtime.errors import EngineDeadError

from .server import running_server

pytestmark = pytest.mark.slow

STORY = "Once upon a time there was a small fox who lived in a forest near the sea. "


@pytest.fixture(scope="module")
def engine() -> Iterator[sgl.Engine]:
    with sgl.Engine(
        dtype="float32", cpu_threads=2, max_total_tokens=8192, log_level="error"
    ) as engine:
        yield engine


def num_tokens(engine: sgl.Engine, text: str) -> int:
    return len(engine.get_tokenizer().encode(text))


def test_what_a_constraint_forced_is_known_by_its_place(engine: sgl.Engine) -> None:
    @sgl.function
    def record(s: sgl.ProgramState) -> None:
        s += "A person: " + sgl.gen("row", regex=r"name=[a-z]{3}; country=[A-Z][a-z]{2}; ok")

    for stream in (False, True):
        state = record.run(temperature=0, backend=engine, stream=stream)
        row, spans = state["row"], state.get_meta_info("row")["forced_spans"]
        forced = [row[start:end] for start, end in spans]
        assert "".join(forced).replace(" ", "").endswith("ok")
        assert any("country" in text for text in forced)
        assert sum(map(len, forced)) < len(row)


def test_a_process_that_was_forked_is_told_that_the_engine_is_elsewhere(
    engine: sgl.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(EngineDeadError, match="make an engine here"):
        engine.generate("a")


# --------------------------------------------------------------------------- the compiler


@sgl.function
def sides(s: sgl.ProgramState, topic: str) -> None:
    s += sgl.system("You are brief.")
    s += sgl.user(f"Tell me about {topic}.")
    forks = s.fork(3)
    forks += lambda i: sgl.assistant(f"{i + 1}. " + sgl.gen("point", max_tokens=8))
    forks.join()
    s += sgl.assistant(forks[0]["point"] + " And: " + sgl.gen("end", max_tokens=8))


def test_a_compiled_program_gives_the_interpreters_result_in_fewer_calls(
    engine: sgl.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    generate = engine.async_generate

    async def counted(prompt: object, *args: object, **options: object) -> object:
        if options["sampling_params"] != {"max_new_tokens": 0, "temperature": 0.0}:  # no hint
            calls.append(prompt)
        return await generate(prompt, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "async_generate", counted)
    plain = sides.run("tea", backend=engine, temperature=0)
    assert len(calls) == 4
    compiled = sides.compile().run("tea", backend=engine, temperature=0)
    assert len(calls) == 4 + 2
    assert isinstance(calls[4], list) and len(calls[4]) == 3
    assert compiled.text() == plain.text()
    assert compiled.variables == plain.variables


# --------------------------------------------------------------------------- join


def joined(engine: sgl.Engine, forget: bool) -> tuple[sgl.ProgramState, int]:
    """Two branches appended; gives the state and how long the first one's text is, in tokens."""
    lengths: list[int] = []

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += STORY
        forks = s.fork(2)
        forks += [" One day", " At night"]
        forks += sgl.gen("event", max_tokens=12)
        lengths.append(num_tokens(engine, forks[0].text()))
        forks.join("concate_and_append")
        s.sync()
        if forget:
            engine.flush_cache()
        s += " In the end" + sgl.gen("end", max_tokens=8)

    return program.run(backend=engine, temperature=0), lengths[0]


def test_join_finds_the_first_branch_in_the_cache(engine: sgl.Engine) -> None:
    """The others stand at new positions, so they are computed again; the text is the same."""
    engine.flush_cache()
    state, first_branch = joined(engine, forget=False)
    meta = state.get_meta_info("end")
    assert first_branch - 2 <= meta["cached_tokens"] < meta["prompt_tokens"] - 12
    again, _ = joined(engine, forget=True)
    assert again.get_meta_info("end")["cached_tokens"] == 0
    assert again.text() == state.text()


def test_join_goes_on_in_the_open_turn_of_a_chat(engine: sgl.Engine) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.user("Two facts about foxes.")
        with s.assistant():
            forks = s.fork(2)
            forks += lambda i: f"{i + 1}. " + sgl.gen("fact", max_tokens=8) + "\n"
            forks.join("concate_and_append")
            s += "So " + sgl.gen("end", max_tokens=4)

    state = program.run(backend=engine, temperature=0)
    start = state.messages()[-1]["content"].removesuffix(f"So {state['end']}")
    assert start.startswith("1. ") and "\n2. " in start and start.endswith("\n")
    assert state.text() == engine.render_chat(state.messages(), add_generation_prompt=False)
    cached = state.get_meta_info("end")["cached_tokens"]
    opening = engine.render_chat(state.messages()[:1], add_generation_prompt=True)
    assert cached >= num_tokens(engine, opening + start.partition("\n2. ")[0]) - 2


# --------------------------------------------------------------------------- select


def reference_logprobs(
    engine: sgl.Engine, prompt: str, choice: str, others: list[str]
) -> list[float]:
    """Of the tokens after the longest common prefix, from one plain request over the whole."""
    tokenizer = engine.get_tokenizer()
    before, whole = tokenizer.encode(prompt), tokenizer.encode(prompt + choice)
    if any(before[:1] != tokenizer.encode(prompt + one)[:1] for one in others):
        assert tokenizer.bos_token_id is not None  # all are scored as a document's beginning
        before, whole = [tokenizer.bos_token_id, *before], [tokenizer.bos_token_id, *whole]
    same = 0
    while same < min(len(before), len(whole)) and before[same] == whole[same]:
        same += 1
    answer = engine.generate(
        input_ids=whole,
        sampling_params={"max_new_tokens": 0},
        return_logprob=True,
        logprob_start_len=same,
    )
    return [entry[0] for entry in answer["meta_info"]["input_token_logprobs"]]


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [
        ("The capital of France is", [" Paris", " London", " a big city"]),
        ("The capital of France is ", ["Paris", "London"]),  # the space joins with the choice
        ("The colour of the sky is bl", ["ue", "ack", "oom"]),  # so does half a word
        ("a b b", [" b", " c"]),  # a repeated token; upstream fails on these
        ("line\n\n", ["\n", "next"]),
        ("x", [" y", "yyz"]),  # a prompt of one token
        ("x", ["ml"]),  # which may be gone in the whole text
        ("", ["Paris", "London"]),
    ],
)
@pytest.mark.parametrize(
    "method",
    [
        sgl.token_length_normalized,
        sgl.greedy_token_selection,
        sgl.unconditional_likelihood_normalized,
    ],
    ids=["mean", "greedy", "unconditional"],
)
def test_choices_are_scored_on_the_tokens_of_the_whole_text(
    engine: sgl.Engine, prompt: str, choices: list[str], method: sgl.ChoicesSamplingMethod
) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += prompt + sgl.select("x", choices, choices_method=method)

    state = program.run(backend=engine)
    meta = state.get_meta_info("x")
    expected = [reference_logprobs(engine, prompt, choice, choices) for choice in choices]
    for entries, logprobs in zip(meta["input_token_logprobs"], expected, strict=True):
        assert [entry[0] for entry in entries] == pytest.approx(logprobs, abs=1e-3)
    means = [math.fsum(row) / len(row) for row in expected]
    assert meta["normalized_prompt_logprobs"] == pytest.approx(means, abs=1e-3)
    if method is sgl.token_length_normalized:
        assert state["x"] == choices[means.index(max(means))]
    elif method is sgl.greedy_token_selection:
        assert len(meta["greedy_logprob_matrix"]) == len(choices)
    else:
        assert len(meta["unconditional_token_logprobs"]) == len(choices)
    assert state.usage.calls == 1


# --------------------------------------------------------------------------- what gen takes


class Animal(pydantic.BaseModel):
    name: str
    legs: int


@dataclasses.dataclass
class Size:
    width: int
    height: int


def generated(engine: sgl.Engine, prompt: str = "The answer:", **options: Any) -> sgl.ProgramState:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += prompt + sgl.gen("x", **options)

    return program.run(backend=engine, max_new_tokens=48)


@pytest.mark.parametrize("schema", [Animal, Size, Animal.model_json_schema()])
def test_a_schema_may_be_a_model_a_dataclass_or_a_dict(engine: sgl.Engine, schema: Any) -> None:
    state = generated(engine, json_schema=schema, max_tokens=96, temperature=0)
    if isinstance(schema, type):
        assert isinstance(state.get_object("x", schema), schema)
    assert isinstance(state.get_object("x"), dict)


@pytest.mark.parametrize(
    ("dtype", "kind"), [(int, int), ("float", float), (bool, bool), (str, str)]
)
def test_dtype_gives_values_of_that_type(engine: sgl.Engine, dtype: Any, kind: type) -> None:
    assert type(generated(engine, dtype=dtype, temperature=0)["x"]) is kind


def test_ebnf_and_structural_tags_hold(engine: sgl.Engine) -> None:
    assert generated(engine, ebnf='root ::= "cat" | "dog"', temperature=0)["x"] in ("cat", "dog")
    tag = {
        "type": "structural_tag",
        "structures": [{"begin": "<n>", "schema": {"type": "integer"}, "end": "</n>"}],
        "triggers": ["<n>"],
    }
    prompt = "one <n>1</n> two <n>2</n> three <n>3</n> four <n>4</n> five"
    text = generated(engine, prompt, structural_tag=tag, temperature=0)["x"]
    found = re.findall("<n>(.*?)</n>", text)
    assert found and all(re.fullmatch("-?(0|[1-9][0-9]*)", one) for one in found), text


def test_sampling_options_arrive(engine: sgl.Engine) -> None:
    seeds = [generated(engine, seed=seed, max_tokens=12)["x"] for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]
    token = engine.get_tokenizer().encode(" cat")[0]
    biased = generated(engine, logit_bias={token: 100.0}, temperature=0, max_tokens=3)["x"]
    assert biased == " cat" * 3
    prompt = "ha ha ha ha ha ha"
    plain = generated(engine, prompt, temperature=0, max_tokens=8)["x"]
    penalised = generated(engine, prompt, temperature=0, max_tokens=8, repetition_penalty=2.0)["x"]
    assert plain.count(" ha") > 4 and " ha" not in penalised


# --------------------------------------------------------------------------- over HTTP


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server("--cpu-threads", "2", "--max-total-tokens", "8192") as server:
        yield server.url


def chat_ids(url: str, messages: list[dict[str, str]], generate: bool) -> list[int]:
    body = {"messages": messages, "add_generation_prompt": generate}
    ids: list[int] = httpx.post(f"{url}/tokenize", json=body).json()["tokens"]
    return ids


CONVERSATIONS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", "Tell <b>me</b> {{ 1 }} {% x %}\n"), ("assistant", " ok ")],
    [("user", ""), ("assistant", "a\nb"), ("user", "  c  ")],
]


@pytest.mark.parametrize("turns", CONVERSATIONS)
def test_a_chat_is_the_prompt_of_chat_completions(url: str, turns: list[tuple[str, str]]) -> None:
    """What the model is shown for ``gen`` in an open assistant turn, token for token."""

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        for role, content in turns:
            getattr(s, role)(content)
        s += sgl.assistant(sgl.gen("x", max_tokens=4))

    backend = sgl.RuntimeEndpoint(url)
    state = program.run(backend=backend, temperature=0)
    messages = [{"role": role, "content": content} for role, content in turns]
    assert state.messages()[:-1] == messages
    assert state.get_meta_info("x")["prompt_tokens"] == len(chat_ids(url, messages, True))
    body = {"prompt": shown(backend, messages), "add_special_tokens": False}
    sent = httpx.post(f"{url}/tokenize", json=body).json()["tokens"]
    assert sent == chat_ids(url, messages, True)
    request = {"model": "default", "messages": messages, "temperature": 0, "max_tokens": 4}
    answer = httpx.post(f"{url}/v1/chat/completions", json=request).json()
    assert state["x"] == answer["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens"] == len(sent)
    backend.shutdown()


@pytest.mark.parametrize("turns", CONVERSATIONS)
def test_a_turn_that_is_begun_goes_on_as_in_chat_completions(
    url: str, turns: list[tuple[str, str]]
) -> None:
    """Text ahead of ``gen`` in the assistant's turn: its final message, to be continued."""

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        for role, content in turns:
            getattr(s, role)(content)
        s += sgl.assistant("Well, " + sgl.gen("x", max_tokens=4))

    backend = sgl.RuntimeEndpoint(url)
    state = program.run(backend=backend, temperature=0)
    backend.shutdown()
    messages = [{"role": role, "content": content} for role, content in turns]
    begun = [*messages, {"role": "assistant", "content": "Well, "}]
    request = {"model": "default", "messages": begun, "temperature": 0, "max_tokens": 4}
    request |= {"continue_final_message": True, "add_generation_prompt": False}
    answer = httpx.post(f"{url}/v1/chat/completions", json=request).json()
    assert state["x"] == answer["choices"][0]["message"]["content"]
    assert state.get_meta_info("x")["prompt_tokens"] == answer["usage"]["prompt_tokens"]


def shown(backend: BaseBackend, messages: list[dict[str, str]]) -> str:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        for message in messages:
            getattr(s, message["role"])(message["content"])
        s += sgl.assistant_begin()

    return program.run(backend=backend).text()


async def test_cancelling_a_program_frees_the_server(url: str) -> None:
    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        forks = s.fork(2)
        for fork in forks:
            fork += STORY + sgl.gen("x", max_tokens=2000, ignore_eos=True)
        await forks[0].aget("x")

    backend = await asyncio.to_thread(sgl.RuntimeEndpoint, url)
    async with httpx.AsyncClient(base_url=url) as client:

        async def running() -> int:
            return int((await client.get("/get_load")).json()[0]["num_reqs"])

        task = asyncio.ensure_future(program.arun(backend=backend))
        while await running() < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while await running():  # 2,000 tokens would take much longer than the test may
            await asyncio.sleep(0.01)
    await asyncio.to_thread(backend.shutdown)

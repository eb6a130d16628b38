"""The programs that SGLang's frontend is tested with, by their names, on a server of our own.

A model of this size answers badly, so what counts is that each program runs as it is written for
SGLang, and that its values have the form that the program asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

import sglang_lang as sgl

from ..sglang_lang.openai_server import openai_server
from .server import running_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server("--cpu-threads", "2", "--max-total-tokens", "8192") as server:
        yield server.url


@pytest.fixture(scope="module", autouse=True)
def backend(url: str) -> Iterator[sgl.RuntimeEndpoint]:
    """The default backend, as those programs have it."""
    endpoint = sgl.RuntimeEndpoint(url)
    sgl.set_default_backend(endpoint)
    yield endpoint
    sgl.set_default_backend(None)
    endpoint.shutdown()


def test_few_shot_qa() -> None:
    @sgl.function
    def few_shot_qa(s: sgl.ProgramState, question: str) -> None:
        s += "Questions about countries, answered in one word.\n\n"
        s += "Q: What is the capital of France?\nA: Paris\n\n"
        s += "Q: What is the capital of Italy?\nA: Rome\n\n"
        s += "Q: " + question + "\n"
        s += "A:" + sgl.gen("answer", stop="\n", temperature=0)

    assert (
        "Berlin" in few_shot_qa.run("What is the capital of Germany?", max_new_tokens=8)["answer"]
    )
    batch = [{"question": f"What is the capital of {land}?"} for land in ("Japan", "Spain")]
    states = few_shot_qa.run_batch(batch, max_new_tokens=8, progress_bar=False)
    assert ["\n" in state["answer"] for state in states] == [False, False]
    assert "Tokyo" in states[0]["answer"]
    streamed = few_shot_qa.run("What is the capital of China?", max_new_tokens=8, stream=True)
    assert "".join(streamed.text_iter()) == streamed.text()


def test_mt_bench() -> None:
    @sgl.function
    def answer_mt_bench(s: sgl.ProgramState, question_1: str, question_2: str) -> None:
        s += sgl.system("You are a helpful assistant.")
        s += sgl.user(question_1)
        s += sgl.assistant(sgl.gen("answer_1"))
        with s.user():
            s += question_2
        with s.assistant():
            s += sgl.gen("answer_2")

    state = answer_mt_bench.run(
        "Name a fruit.", "And its colour?", temperature=0.1, max_new_tokens=16
    )
    roles = [message["role"] for message in state.messages()]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert state.messages()[2]["content"] == state["answer_1"]
    assert state["answer_2"] in state.text()


def test_select() -> None:
    @sgl.function
    def true_or_false(s: sgl.ProgramState, statement: str) -> None:
        s += "Statement: Paris is a city.\nAnswer: True\n\n"
        s += "Statement: Fish live in trees.\nAnswer: False\n\n"
        s += "Statement: " + statement + "\n"
        s += "Answer:" + sgl.select("answer", [" True", " False"])

    state = true_or_false.run("London is a city.")
    assert state["answer"] in (" True", " False")
    meta = state.get_meta_info("answer")
    best = max(range(2), key=meta["normalized_prompt_logprobs"].__getitem__)
    assert state["answer"] == (" True", " False")[best]


def test_decode_int() -> None:
    @sgl.function
    def decode_int(s: sgl.ProgramState) -> None:
        s += "Minutes in an hour: 60\nSeconds in a minute: 60\n"
        s += "Hours in a day: " + sgl.gen_int("hours", max_tokens=4) + "\n"
        s += "Days in a week: " + sgl.gen_int("days", max_tokens=4) + "\n"

    state = decode_int.run(temperature=0.1)
    assert isinstance(state["hours"], int) and isinstance(state["days"], int)
    assert f"Days in a week: {state['days']}" in state.text()


def test_decode_json_regex() -> None:
    from_regex = (
        r'\{"name": "[A-Za-z ]{1,16}", "population": [0-9]{1,9}, "country": "[A-Za-z ]{1,16}"\}'
    )

    @sgl.function
    def decode_json(s: sgl.ProgramState) -> None:
        s += "A city as JSON: " + sgl.gen("city", max_tokens=64, regex=from_regex)

    assert set(json.loads(decode_json.run(temperature=0)["city"])) == {
        *("name", "population", "country")
    }


def test_decode_json() -> None:
    @sgl.function
    def decode_json(s: sgl.ProgramState) -> None:
        s += "A city as JSON: {\n"
        s += '  "name": ' + sgl.gen_string("name", max_tokens=24) + ",\n"
        s += '  "population": ' + sgl.gen_int("population", max_tokens=16) + ",\n"
        s += '  "area": ' + sgl.gen("area", dtype=int, max_tokens=16) + ",\n"
        s += '  "latitude": ' + sgl.gen("latitude", dtype=float, max_tokens=16) + "\n}"

    state = decode_json.run(temperature=0)
    city = json.loads(state.text().removeprefix("A city as JSON: "))
    assert city["name"] == json.loads(state["name"])
    assert (city["population"], city["latitude"]) == (state["population"], state["latitude"])


def test_expert_answer() -> None:
    @sgl.function
    def expert_answer(s: sgl.ProgramState, question: str) -> None:
        s += "Question: " + question + "\n"
        s += "Who can answer this well? A good expert is a" + sgl.gen(
            "expert", stop=[".", "\n"], max_tokens=12, temperature=0
        )
        s += ".\nThe " + s["expert"] + " says:" + sgl.gen("answer", stop=".", max_tokens=16)

    state = expert_answer.run("Why do leaves turn red?", temperature=0.1)
    assert f".\nThe {state['expert']} says:{state['answer']}" in state.text()


def test_tool_use() -> None:
    @sgl.function
    def tool_use(s: sgl.ProgramState, lhs: str, rhs: str) -> None:
        s += "Compute with a calculator where it helps.\n"
        s += "calculate(2 + 3) = 5\n"
        s += "calculate(" + lhs + sgl.gen("operation", choices=[" + ", " * "]) + rhs + ")"
        with s.var_scope("result"):
            s += " = " + str(int(lhs) + int(rhs))
        s += "\n"

    state = tool_use.run("5", "7")
    assert state["operation"] in (" + ", " * ")
    assert state["result"] == " = 12"


def test_react() -> None:
    @sgl.function
    def react(s: sgl.ProgramState, question: str) -> None:
        s += (
            "Question: How many legs has a spider?\nThought 1: I search spider.\nAct 1: Finish: 8\n"
        )
        s += "Question: " + question + "\n"
        for step in range(1, 3):
            s += f"Thought {step}:" + sgl.gen(f"thought_{step}", stop="\n", max_tokens=16)
            s += f"\nAct {step}: "
            s += sgl.select(f"action_{step}", ["Search", "Finish"])
            s += ":" + sgl.gen(f"argument_{step}", stop="\n", max_tokens=8) + "\n"
            if s[f"action_{step}"] == "Finish":
                break
            s += f"Observation {step}: nothing was found\n"

    state = react.run("How many days has a leap year?", temperature=0)
    assert state["action_1"] in ("Search", "Finish")
    assert ("action_2" in state) == (state["action_1"] == "Search")


TIPS = ["1. eat well", "2. sleep enough"]


def test_parallel_decoding() -> None:
    @sgl.function
    def parallel_decoding(s: sgl.ProgramState, topic: str) -> None:
        s += "Act as a helpful writer.\nTips on " + topic + ":\n" + "\n".join(TIPS) + "\n"
        forks = s.fork(len(TIPS))
        for i in range(len(TIPS)):
            forks[i] += f"In detail, tip {i + 1}:"
            forks[i] += sgl.gen("detail", max_tokens=12, stop="\n\n")
        forks.join()
        s += "In detail:\n" + "\n".join(s["detail"]) + "\nIn short:" + sgl.gen("end", max_tokens=8)

    state = parallel_decoding.run("health", temperature=0.3)
    assert len(state["detail"]) == len(TIPS)
    assert all(detail in state.text() for detail in state["detail"])


def test_parallel_encoding() -> None:
    @sgl.function
    def parallel_encoding(s: sgl.ProgramState, question: str, *documents: str) -> None:
        s += "USER: I will ask a question about these texts.\n"
        forks = s.fork(len(documents))
        forks += lambda i: documents[i]
        forks.join("concate_and_append")
        s += "USER: " + question + "\nASSISTANT:" + sgl.gen("answer", max_tokens=8, temperature=0)

    documents = [f"Room {i} is {colour}.\n" for i, colour in enumerate(("red", "blue", "green"))]
    state = parallel_encoding.run("Which room is blue?", *documents)
    assert state.text() == (
        "USER: I will ask a question about these texts.\n"
        + "".join(documents)
        + f"USER: Which room is blue?\nASSISTANT:{state['answer']}"
    )


@sgl.function
def image_qa(s: sgl.ProgramState, question: str) -> None:
    s += sgl.user(sgl.image(b"\x89PNG...") + question)
    s += sgl.assistant(sgl.gen("answer"))


def test_image_qa() -> None:
    """This model sees nothing, and says so; an API that takes images is shown it."""
    with pytest.raises(sgl.ProgramError, match="reads text only and cannot be shown this image"):
        image_qa.run("What is this?")
    with openai_server(lambda body: "A taxi.") as server:
        api = sgl.OpenAI("seeing", base_url=server.url, api_key="key")
        assert image_qa.run("What is this?", backend=api)["answer"] == "A taxi."
        api.shutdown()
    assert server.requests[0]["messages"][0]["content"][0]["type"] == "image_url"


@sgl.function
def qa(s: sgl.ProgramState, question: str) -> None:
    s += sgl.system("You are a helpful assistant.")
    s += sgl.user(question)
    s += sgl.assistant(sgl.gen("answer"))


def test_stream() -> None:
    state = qa.run("List two fruits.", stream=True, max_new_tokens=16, temperature=0)
    whole = "".join(state.text_iter())
    state = qa.run("List two fruits.", stream=True, max_new_tokens=16, temperature=0)
    answer = "".join(state.text_iter("answer"))
    assert answer and whole == state.text()
    assert answer == state["answer"]


async def test_stream_logprobs() -> None:
    state = qa.run(
        "List two fruits.", stream=True, max_new_tokens=8, return_logprob=True, top_logprobs_num=2
    )
    seen: list[Any] = []
    text = ""
    async for piece, meta in state.text_async_iter("answer", return_meta_data=True):
        text += piece
        seen = meta["output_token_logprobs"]
        assert len(meta["output_top_logprobs"]) == len(seen)
    assert text == await state.aget("answer")
    assert 0 < len(seen) <= 8
    assert all(logprob <= 0 and isinstance(token, int) for logprob, token, _ in seen)


def test_regex() -> None:
    address = r"((25[0-5]|2[0-4]\d|[01]?\d\d?)\.){3}(25[0-5]|2[0-4]\d|[01]?\d\d?)"

    @sgl.function
    def regex_gen(s: sgl.ProgramState) -> None:
        s += "Q: What is the IP address of a DNS server?\n"
        s += "A: " + sgl.gen("answer", temperature=0, regex=address)

    assert re.fullmatch(address, regex_gen.run()["answer"])


def test_dtype_gen() -> None:
    @sgl.function
    def dtype_gen(s: sgl.ProgramState) -> None:
        s += "Q: How many legs has a cat?\nA: " + sgl.gen("int", dtype=int, max_tokens=8)
        s += "\nQ: What is half of three?\nA: " + sgl.gen("float", dtype=float, max_tokens=8)
        s += "\nQ: Is fire cold?\nA: " + sgl.gen("bool", dtype=bool, max_tokens=8)
        s += "\nQ: A word with quotes?\nA: " + sgl.gen("str", dtype=str, max_tokens=16)

    state = dtype_gen.run(temperature=0)
    kinds = {name: type(value) for name, value in state.variables.items()}
    assert kinds == {"int": int, "float": float, "bool": bool, "str": str}


@sgl.function(num_api_spec_tokens=48)
def completion_speculative(s: sgl.ProgramState) -> None:
    s += "Name: Rosa\nBorn: 1901\nJob: baker\n\nName: Karl\nBorn: 1910\nJob: tailor\n\n"
    s += "Name:" + sgl.gen("name", stop="\n") + "\nBorn:" + sgl.gen("born", stop="\n")
    s += "\nJob:" + sgl.gen("job", stop="\n")


@sgl.function(num_api_spec_tokens=48)
def chat_completion_speculative(s: sgl.ProgramState) -> None:
    s += sgl.user("Count from one to three, one number a line: 1, 2, 3.")
    with s.assistant():
        s += sgl.gen("first", stop="\n") + "\n" + sgl.gen("second", stop="\n")


@pytest.mark.parametrize(
    "program", [completion_speculative, chat_completion_speculative], ids=["completion", "chat"]
)
def test_speculative(program: sgl.SglFunction, url: str) -> None:
    is_chat = program is chat_completion_speculative
    api = sgl.OpenAI("default", is_chat, base_url=f"{url}/v1", api_key="none")
    ahead = program.run(backend=api, temperature=0, max_new_tokens=48)
    plain = sgl.SglFunction(program.func).run(backend=api, temperature=0, max_new_tokens=48)
    api.shutdown()
    assert ahead.text() == plain.text()
    if not is_chat:  # what a chat model makes of the format is its own affair
        assert ahead.usage.calls < plain.usage.calls
        assert ahead.usage.prompt_tokens < plain.usage.prompt_tokens


def test_gen_min_new_tokens() -> None:
    @sgl.function
    def short_answer(s: sgl.ProgramState) -> None:
        s += sgl.user("Say yes.")
        s += sgl.assistant(sgl.gen("answer", min_tokens=20, max_tokens=30, temperature=0))

    meta = short_answer.run().get_meta_info("answer")
    assert 20 <= meta["completion_tokens"] <= 30

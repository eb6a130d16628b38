"""``Runtime``: a server in a child process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import sglang_lang as sgl


@sgl.function
def program(s: sgl.ProgramState) -> None:
    s += "1 2 3" + sgl.gen("x", max_tokens=2, temperature=0)


@pytest.mark.slow
def test_a_runtime_serves_programs_until_it_is_shut_down() -> None:
    with sgl.Runtime(load_format="dummy", max_total_tokens=512, cpu_threads=1) as runtime:
        assert program.run(backend=runtime).usage.completion_tokens == 2
        url = runtime.base_url
    with pytest.raises(sgl.BackendError, match="cannot be reached"):
        sgl.RuntimeEndpoint(url)


@pytest.mark.slow
async def test_a_runtime_answers_without_a_program() -> None:
    params = {"max_new_tokens": 4, "temperature": 0}
    with sgl.Runtime(
        load_format="dummy", max_total_tokens=512, cpu_threads=1, api_key="key"
    ) as runtime:
        whole = json.loads(runtime.generate("1 2 3", params))
        pieces = [piece async for piece in runtime.async_generate("1 2 3", params)]
        assert "".join(pieces) == whole["text"]
        assert len(json.loads(runtime.generate(["a", "b"], params))) == 2
        one, other = json.loads(runtime.encode(["a", "b"]))
        assert (
            one["embedding"] != other["embedding"] == json.loads(runtime.encode("b"))["embedding"]
        )
        tokenizer = runtime.get_tokenizer()
        assert tokenizer.decode(tokenizer.encode("hello world")) == "hello world"
        runtime.flush_cache()
        runtime.cache_prefix("a text that is computed ahead of the requests")
        answer = json.loads(runtime.generate("a text that is computed ahead of it", params))
        assert answer["meta_info"]["cached_tokens"] >= 6
        info = await runtime.get_server_info()
        assert info["load_format"] == "dummy"
        assert sgl.get_server_info(runtime)["load_format"] == "dummy"
        with pytest.raises(sgl.BackendError, match="lora_path is not supported"):
            runtime.generate("a", lora_path="x")


@pytest.mark.slow
def test_a_runtime_that_was_forgotten_ends_with_the_program() -> None:
    program = (
        "import sglang_lang as sgl\n"
        "runtime = sgl.Runtime(load_format='dummy', max_total_tokens=512, cpu_threads=1)\n"
        "print(runtime.base_url)"
    )
    url = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=120)
    with pytest.raises(sgl.BackendError, match="cannot be reached"):
        sgl.RuntimeEndpoint(url.strip())


def test_a_runtime_that_cannot_start_says_why() -> None:
    with pytest.raises(sgl.BackendError, match="ended before it was ready: .*--no-such-flag"):
        sgl.Runtime(no_such_flag=1)

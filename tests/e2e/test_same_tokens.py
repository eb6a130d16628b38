"""Greedy float32 output equals transformers', token by token, whatever the engine's settings."""

from __future__ import annotations

import asyncio
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sglang_lang.kernels.cpu.isa import available_levels
from sglang_lang.runtime.engine import Engine
from sglang_lang.runtime.errors import RequestError

from .texts import PROMPTS

pytestmark = pytest.mark.slow

HAS_AVX2 = pytest.mark.skipif(
    "avx2" not in {level.name for level in available_levels()}, reason="this processor lacks AVX2"
)
NEW_TOKENS = 64
GREEDY = {"temperature": 0.0, "max_new_tokens": NEW_TOKENS, "ignore_eos": True}


def generate(prompts: list[str], **settings: Any) -> list[list[int]]:
    with Engine(dtype="float32", log_level="error", **settings) as engine:
        outputs = engine.generate(prompts, GREEDY)
    return [output["output_ids"] for output in outputs]


@cache
def batched() -> list[list[int]]:
    return generate(PROMPTS)


def test_every_token_is_transformers_choice(embedded_model_path: str) -> None:
    """Each token is the likeliest one after those before it, by transformers' own forward pass.

    By induction over the positions that is greedy decoding, and takes one pass instead of 64.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    path = Path(embedded_model_path)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    ).eval()
    for prompt, output in zip(PROMPTS, batched(), strict=True):
        ids = tokenizer(prompt).input_ids
        with torch.inference_mode():
            logits = model(torch.tensor([ids + output])).logits[0]
        assert logits[len(ids) - 1 : -1].argmax(-1).tolist() == output


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_backend": "reference"},
        pytest.param({"cpu_isa": "avx2"}, marks=HAS_AVX2),
        {"disable_radix_cache": True},
        {"disable_overlap_schedule": True},
        {"chunked_prefill_size": 16},
        {"chunked_prefill_size": 2048},
        {"max_total_tokens": 400},
        {"max_total_tokens": 416, "page_size": 16, "chunked_prefill_size": 16},
        {"schedule_policy": "fcfs", "max_running_requests": 3},
        {"schedule_policy": "dfs-weight", "max_running_requests": 3, "page_size": 16},
        {"schedule_policy": "priority", "max_total_tokens": 400},
        {"speculative_ngram_min_match": 1, "speculative_max_batch": 64},
    ],
    ids=str,
)
def test_batched_output_does_not_depend_on_the_settings(settings: dict[str, Any]) -> None:
    assert generate(PROMPTS, **settings) == batched()


def test_one_at_a_time_cold_and_warm_equals_batched() -> None:
    with Engine(dtype="float32", log_level="error") as engine:
        for _ in range(2):
            outputs = [engine.generate(prompt, GREEDY)["output_ids"] for prompt in PROMPTS]
            assert outputs == batched()


def test_a_storm_of_300_requests_with_aborts_leaves_every_slot_free() -> None:
    rng = random.Random(7)

    async def one(engine: Engine, i: int) -> int:
        prompt = rng.choice(PROMPTS)[: rng.randrange(1, 200)]
        params = {"max_new_tokens": rng.randrange(0, 24), "temperature": rng.choice([0.0, 1.0])}
        work = asyncio.ensure_future(engine.async_generate(prompt, params, rid=f"storm-{i}."))
        fate = rng.random()
        if fate < 0.15:
            engine.abort_request(f"storm-{i}.")
        elif fate < 0.3:
            asyncio.get_running_loop().call_later(rng.random(), work.cancel)
        try:
            return len((await work)["output_ids"])
        except (RequestError, asyncio.CancelledError):
            return -1

    async def storm(engine: Engine) -> list[int]:
        return await asyncio.gather(*(one(engine, i) for i in range(300)))

    with Engine(log_level="error", max_total_tokens=3000, max_running_requests=16) as engine:
        lengths = asyncio.run(storm(engine))
        assert 20 < sum(length < 0 for length in lengths) < 150
        while (state := engine.get_server_info())["num_running_reqs"]:
            pass
        assert state["num_used_tokens"] == 0
        assert state["num_free_slots"] + state["num_cached_tokens"] == 3000
        engine.flush_cache()
        assert engine.get_server_info()["num_free_slots"] == 3000

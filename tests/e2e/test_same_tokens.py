"""Greedy float32 output equals transformers', token by token, whatever the engine's settings."""

from __future__ import annotations

from typing import Any

import pytest

from sglang_lang.runtime.engine import Engine

from .texts import PROMPTS

pytestmark = pytest.mark.slow

NEW_TOKENS = 64
GREEDY = {"temperature": 0.0, "max_new_tokens": NEW_TOKENS, "ignore_eos": True}


@pytest.fixture(scope="module")
def reference(embedded_model_path: str) -> list[list[int]]:
    """What transformers generates from the same file, one prompt at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, _, name = embedded_model_path.rpartition("/")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.eval()
    outputs = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=NEW_TOKENS,
                max_new_tokens=NEW_TOKENS,
                eos_token_id=None,
                pad_token_id=0,
            )
        outputs.append(out[0, ids.shape[1] :].tolist())
    return outputs


def generate(prompts: list[str], **settings: Any) -> list[list[int]]:
    with Engine(dtype="float32", log_level="error", **settings) as engine:
        outputs = engine.generate(prompts, GREEDY)
    return [output["output_ids"] for output in outputs]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kernel_backend": "reference"},
        {"disable_radix_cache": True},
        {"disable_overlap_schedule": True},
        {"chunked_prefill_size": 16},
        {"chunked_prefill_size": 2048},
        {"page_size": 16},
        {"max_total_tokens": 400},
        {"max_total_tokens": 416, "page_size": 16, "chunked_prefill_size": 16},
        {"schedule_policy": "fcfs", "max_running_requests": 3},
    ],
    ids=str,
)
def test_batched_output_equals_transformers(
    settings: dict[str, Any], reference: list[list[int]]
) -> None:
    assert generate(PROMPTS, **settings) == reference


def test_one_at_a_time_equals_transformers_cold_and_warm(reference: list[list[int]]) -> None:
    with Engine(dtype="float32", log_level="error") as engine:
        for _ in range(2):
            for prompt, expected in zip(PROMPTS, reference, strict=True):
                output = engine.generate(prompt, GREEDY)
                assert output["output_ids"] == expected

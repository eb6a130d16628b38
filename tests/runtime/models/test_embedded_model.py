"""SmolLM2 from its GGUF writes what transformers writes from the same file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GgufConfig, LlamaConfig, LlamaForCausalLM

from sglang_lang.kernels.dispatch import load_ops
from sglang_lang.runtime.checkpoints.checkpoint import Checkpoint, open_checkpoint
from sglang_lang.runtime.models.registry import Quantization, load_model

from .paged import PagedRunner

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Once upon a time, in a village by the sea,",
    "Q: What is 17 + 25?\nA:",
    "The three laws of thermodynamics are: 1.",
]
MORE_PROMPTS = [
    "Dear Sir or Madam,\n\nI am writing to",
    "SELECT name, COUNT(*) FROM users WHERE",
    "La lune est",
    "Photosynthesis is the process by which",
    "import numpy as np\n\nx = np.",
    "To make pancakes you need flour, eggs and",
    '{"name": "Alice", "age":',
    "In 1969, the first humans",
    "Roses are red, violets are blue,",
    "The quick brown fox",
    "Error: connection refused while",
    "My favourite book is",
    "H2O is the chemical formula of",
    "1, 1, 2, 3, 5, 8,",
    "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n",
]

pytestmark = pytest.mark.filterwarnings("ignore:the CPU kernels cannot be built")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint(None)


def transformers_model(checkpoint: Checkpoint) -> Any:
    """transformers' Llama over the weights read here; what they are is tested by themselves."""
    config = checkpoint.config
    llama: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.ropes[0].theta},
            tie_word_embeddings=True,
        )
    )
    source: Any = checkpoint.weights(torch.float32)
    weights = {name: source.read(name, ()) for name in source.names()}
    llama.load_state_dict(weights | {"lm_head.weight": weights["model.embed_tokens.weight"]})
    return llama.eval()


def transformers_model_from_gguf(path: Path) -> Any:
    auto_model: Any = AutoModelForCausalLM
    return auto_model.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    ).eval()


def greedy(checkpoint: Checkpoint, prompts: list[list[int]], num_tokens: int) -> list[list[int]]:
    """What the model writes after each prompt, all in one batch, with the fastest ops here."""
    device = torch.device("cpu")
    model = load_model(checkpoint, load_ops(device), torch.float32, device)
    runner = PagedRunner(model, checkpoint.config, torch.float32, max_requests=len(prompts))
    outputs: list[list[int]] = [[] for _ in prompts]
    logits = runner.extend(prompts)
    for _ in range(num_tokens):
        for output, rows in zip(outputs, logits, strict=True):
            output.append(int(rows[-1].argmax()))
        logits = runner.extend([output[-1:] for output in outputs])
    return outputs


def check(checkpoint: Checkpoint, reference: Any, prompts: list[str], num_tokens: int) -> None:
    """Each token written is the one the reference finds likeliest after all before it."""
    ids = checkpoint.tokenizer().encode_batch(prompts)
    for prompt, written in zip(ids, greedy(checkpoint, ids, num_tokens), strict=True):
        with torch.inference_mode():
            logits = reference(torch.tensor([prompt + written[:-1]])).logits[0]
        assert written == logits[len(prompt) - 1 :].argmax(-1).tolist()


def test_greedy_tokens_equal_transformers(checkpoint: Checkpoint) -> None:
    check(checkpoint, transformers_model(checkpoint), PROMPTS, 32)


def test_quantised_matrices_are_as_exact_as_dequantised_ones(checkpoint: Checkpoint) -> None:
    """Logits are within a hundredth of those of the dequantised weights in float32."""
    device = torch.device("cpu")
    ops = load_ops(device)
    prompts = checkpoint.tokenizer().encode_batch(MORE_PROMPTS[:8])

    def logits(dtype: torch.dtype, quantization: Quantization | None) -> torch.Tensor:
        model = load_model(checkpoint, ops, dtype, device, quantization=quantization)
        runs = (PagedRunner(model, checkpoint.config, dtype, 1).extend([ids]) for ids in prompts)
        return torch.cat([rows for (rows,) in runs])

    exact = logits(torch.float32, None)
    dense, kept = logits(torch.bfloat16, None), logits(torch.bfloat16, "gguf")
    assert not torch.equal(dense, kept)
    assert (kept - exact).norm() < 1e-2 * exact.norm()
    assert (kept - exact).abs().mean() < 1.2 * (dense - exact).abs().mean()
    certain = exact.topk(2).values.diff().abs().squeeze(1) > 1.0
    assert torch.equal(kept.argmax(-1)[certain], exact.argmax(-1)[certain])


@pytest.mark.parametrize(("quantization", "most"), [("int8", 0.12), ("int4", 0.25)])
def test_rounded_matrices_give_nearly_the_same_logits(
    checkpoint: Checkpoint, quantization: Quantization, most: float
) -> None:
    """Mean error of the logits, in their standard deviations."""
    device = torch.device("cpu")
    ops = load_ops(device)
    ids = checkpoint.tokenizer().encode(PROMPTS[0])

    def logits(dtype: torch.dtype, quantization: Quantization | None) -> torch.Tensor:
        model = load_model(checkpoint, ops, dtype, device, quantization=quantization)
        return PagedRunner(model, checkpoint.config, dtype, 1).extend([ids])[0]

    exact, rounded = logits(torch.float32, None), logits(torch.bfloat16, quantization)
    error = (rounded - exact).abs().mean() / exact.std()
    assert 0.001 < error < most


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "op by op"])
def test_an_8_bit_cache_gives_nearly_the_same_logits(checkpoint: Checkpoint, fused: bool) -> None:
    """Prefill, then a step of one token: mean error against float32, in standard deviations.

    With bfloat16 caches it is 0.01 fused and 0.03 op by op, where the residual is rounded as well.
    """
    device = torch.device("cpu")
    ops = load_ops(device)
    if not fused:
        ops = replace(ops, pack_decoder=None)
    prompts = checkpoint.tokenizer().encode_batch(PROMPTS)

    def last_logits(dtype: torch.dtype, cache_dtype: torch.dtype) -> torch.Tensor:
        model = load_model(checkpoint, ops, dtype, device)
        rows = []
        for ids in prompts:
            runner = PagedRunner(model, checkpoint.config, cache_dtype, 1)
            runner.extend([ids[:-1]])
            rows.append(runner.extend([ids[-1:]])[0])
        return torch.cat(rows)

    exact = last_logits(torch.float32, torch.float32)
    for cache_dtype, most in ((torch.int8, 0.08), (torch.float8_e4m3fn, 0.12)):
        rounded = last_logits(torch.bfloat16, cache_dtype)
        error = (rounded - exact).abs().mean() / exact.std()
        assert 0.0 < error < most, cache_dtype


@pytest.mark.slow
def test_greedy_tokens_equal_transformers_reading_the_file(
    checkpoint: Checkpoint, embedded_model_path: str
) -> None:
    reference = transformers_model_from_gguf(Path(embedded_model_path))
    check(checkpoint, reference, PROMPTS + MORE_PROMPTS, 64)

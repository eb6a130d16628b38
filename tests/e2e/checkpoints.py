"""Tiny random checkpoints with a byte tokenizer: folders of safetensors, made in a second."""

from __future__ import annotations

import json
from pathlib import Path

from tests.runtime.text.echo import EOS, byte_tokenizer


def tiny_checkpoint(folder: Path, seed: int, hidden_size: int = 64) -> Path:
    """A random Llama of two layers over bytes, in the form that transformers saves."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=hidden_size,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=256,
        bos_token_id=None,
        initializer_range=0.4,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_tokenizer_files(folder)
    return folder


def byte_tokenizer_files(folder: Path) -> None:
    """Write the files of a tokenizer whose tokens are bytes, and an end of sequence."""
    byte_tokenizer()._backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": EOS}))

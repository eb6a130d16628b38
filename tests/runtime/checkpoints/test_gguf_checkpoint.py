"""A model written to GGUF the way llama.cpp's conversion does comes back as it was."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang_lang.kernels.block_weight import GGUFWeight
from sglang_lang.runtime.checkpoints import gguf_weights
from sglang_lang.runtime.checkpoints.gguf_checkpoint import GGUFCheckpoint
from sglang_lang.runtime.checkpoints.weights import Weights
from sglang_lang.runtime.errors import ModelLoadError
from sglang_lang.runtime.layers.embedding import Embedding

HEADS, KV_HEADS, HEAD_DIM, HIDDEN, INNER, VOCAB = 4, 2, 8, 32, 64, 20

LAYER_TENSORS = {
    "attn_norm": ("input_layernorm", (HIDDEN,)),
    "attn_q": ("self_attn.q_proj", (HEADS * HEAD_DIM, HIDDEN)),
    "attn_k": ("self_attn.k_proj", (KV_HEADS * HEAD_DIM, HIDDEN)),
    "attn_v": ("self_attn.v_proj", (KV_HEADS * HEAD_DIM, HIDDEN)),
    "attn_output": ("self_attn.o_proj", (HIDDEN, HEADS * HEAD_DIM)),
    "ffn_norm": ("post_attention_layernorm", (HIDDEN,)),
    "ffn_gate": ("mlp.gate_proj", (INNER, HIDDEN)),
    "ffn_up": ("mlp.up_proj", (INNER, HIDDEN)),
    "ffn_down": ("mlp.down_proj", (HIDDEN, INNER)),
}


def random(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def permuted(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Rows (half, i) of each head become rows (i, half): llama.cpp's order."""
    halves = weight.reshape(heads, 2, HEAD_DIM // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


class Writer:
    """A one-layer model with the keys every architecture has."""

    def __init__(self, path: Path, architecture: str) -> None:
        self.path = path
        self._writer = writer = gguf.GGUFWriter(path, architecture)
        writer.add_block_count(1)
        writer.add_context_length(64)
        writer.add_embedding_length(HIDDEN)
        writer.add_feed_forward_length(INNER)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KV_HEADS)
        writer.add_key_length(HEAD_DIM)
        writer.add_layer_norm_rms_eps(1e-5)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def add_model(self, *, without: str = "") -> None:
        tensors = {"token_embd": random(VOCAB, HIDDEN), "output_norm": random(HIDDEN)}
        for name, (_, shape) in LAYER_TENSORS.items():
            tensors[f"blk.0.{name}"] = random(*shape)
        for name, values in tensors.items():
            if name != without:
                self._writer.add_tensor(f"{name}.weight", values)

    def close(self) -> GGUFCheckpoint:
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_tensors_to_file()
        self._writer.close()
        return GGUFCheckpoint(self.path, "model")


def read(checkpoint: GGUFCheckpoint, name: str) -> npt.NDArray[Any]:
    source: Any = checkpoint.weights(torch.float32)
    values: npt.NDArray[Any] = source.read(name, ()).numpy()
    return values


def test_every_tensor_has_its_hugging_face_name(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "model.gguf", "qwen2")
    writer.add_model()
    checkpoint = writer.close()
    expected = {"model.embed_tokens.weight", "model.norm.weight"}
    expected |= {f"model.layers.0.{name}.weight" for name, _ in LAYER_TENSORS.values()}
    assert checkpoint.weights(torch.float32).names() == expected
    for name, shape in LAYER_TENSORS.values():
        np.testing.assert_array_equal(
            read(checkpoint, f"model.layers.0.{name}.weight"), random(*shape)
        )


def test_llama_rows_are_put_back(tmp_path: Path) -> None:
    queries = random(HEADS * HEAD_DIM, HIDDEN)
    key_bias = random(KV_HEADS * HEAD_DIM)
    writer = Writer(tmp_path / "model.gguf", "llama")
    writer.add_model(without="blk.0.attn_q")
    writer.add_tensor("blk.0.attn_q.weight", permuted(queries, HEADS))
    writer.add_tensor("blk.0.attn_k.bias", permuted(key_bias, KV_HEADS))
    checkpoint = writer.close()
    prefix = "model.layers.0.self_attn"
    np.testing.assert_array_equal(read(checkpoint, f"{prefix}.q_proj.weight"), queries)
    np.testing.assert_array_equal(read(checkpoint, f"{prefix}.k_proj.bias"), key_bias)
    np.testing.assert_array_equal(  # values are not rotated, so not reordered
        read(checkpoint, f"{prefix}.v_proj.weight"), random(KV_HEADS * HEAD_DIM, HIDDEN)
    )


def test_quantised_rows_are_put_back_too(tmp_path: Path) -> None:
    queries = random(HEADS * HEAD_DIM, HIDDEN)
    packed = gguf.quantize(permuted(queries, HEADS), gguf.GGMLQuantizationType.Q8_0)
    writer = Writer(tmp_path / "model.gguf", "llama")
    writer.add_model(without="blk.0.attn_q")
    q8_0 = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("blk.0.attn_q.weight", packed, raw_dtype=q8_0)
    checkpoint = writer.close()
    name = "model.layers.0.self_attn.q_proj.weight"
    kept = checkpoint.weights(torch.bfloat16, "gguf").read(name, ())
    assert isinstance(kept, GGUFWeight) and kept.kind == "Q8_0"
    np.testing.assert_array_equal(kept.dequantize().numpy(), read(checkpoint, name))
    np.testing.assert_allclose(read(checkpoint, name), queries, atol=0.03)


def test_rows_of_a_quantised_embedding_stay_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also once the memory of what was read has been given back."""
    monkeypatch.setattr(gguf_weights, "FORGET_BYTES", 0)
    q8_0 = gguf.GGMLQuantizationType.Q8_0
    writer = Writer(tmp_path / "model.gguf", "llama")
    writer.add_model(without="token_embd")
    packed = gguf.quantize(random(VOCAB, HIDDEN), q8_0)
    writer.add_tensor("token_embd.weight", packed, raw_dtype=q8_0)
    weights = Weights(writer.close().weights(torch.float32), torch.float32, torch.device("cpu"))
    name = "model.embed_tokens.weight"
    dense = weights.take(name, VOCAB, HIDDEN)
    rows = weights.rows_of(name, dense)
    weights.take("model.norm.weight", HIDDEN)  # what was read before is forgotten
    assert isinstance(rows, GGUFWeight)
    ids = torch.tensor([7, 0, 19, 7])
    assert torch.equal(Embedding(rows, torch.float32)(ids), dense[ids])
    assert torch.equal(Embedding(dense, torch.float32, 2.0)(ids), dense[ids] * 2.0)
    plain = weights.rows_of("model.layers.0.mlp.down_proj.weight", dense)
    assert plain is dense  # the file has it in float32


def test_gemma_norms_lose_the_one_that_was_added(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "model.gguf", "gemma3")
    writer.add_sliding_window(16)
    writer.add_model(without="output_norm")
    writer.add_tensor("output_norm.weight", random(HIDDEN) + 1)
    writer.add_tensor("blk.0.post_ffw_norm.weight", random(HIDDEN) + 1)
    checkpoint = writer.close()
    np.testing.assert_allclose(read(checkpoint, "model.norm.weight"), random(HIDDEN), atol=1e-6)
    name = "model.layers.0.post_feedforward_layernorm.weight"
    np.testing.assert_allclose(read(checkpoint, name), random(HIDDEN), atol=1e-6)


def test_configuration(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "model.gguf", "gemma3")
    writer.add_sliding_window(16)
    writer.add_rope_freq_base(1e6)
    writer.add_file_type(0)
    writer.add_model()
    config = writer.close().config
    assert config.family == "gemma3_text" and config.activation == "gelu_tanh"
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (HEADS, KV_HEADS, HEAD_DIM)
    assert (config.vocab_size, config.context_len) == (VOCAB, 64)
    assert config.windows == (16,)
    assert config.ropes[0].theta == 1e4  # the one layer is local
    assert config.tie_word_embeddings
    assert config.dtype == "float32"


def test_an_output_matrix_unties_the_embedding(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "model.gguf", "llama")
    writer.add_model()
    writer.add_tensor("output.weight", random(VOCAB, HIDDEN))
    checkpoint = writer.close()
    assert not checkpoint.config.tie_word_embeddings
    assert "lm_head.weight" in checkpoint.weights(torch.float32).names()


def test_rotary_factors_go_to_the_configuration(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "model.gguf", "llama")
    writer.add_model()
    writer.add_tensor("rope_freqs.weight", np.array([1, 1, 2, 8], dtype=np.float32))
    checkpoint = writer.close()
    assert checkpoint.config.ropes[0].factors == (1.0, 1.0, 2.0, 8.0)
    assert "rope_freqs.weight" not in checkpoint.weights(torch.float32).names()


def test_every_end_of_turn_token_ends_a_generation(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "model.gguf", "llama")
    writer.add_model()
    writer.add_token_list(["a", "</s>", "<|eot_id|>", "b"])
    writer.add_eos_token_id(1)
    assert writer.close().config.eos_token_ids == (1, 2)


def test_an_unknown_tensor_is_reported_unread(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "model.gguf", "llama")
    writer.add_model()
    writer.add_tensor("blk.0.attn_magic.weight", random(3))
    checkpoint = writer.close()
    weights = Weights(checkpoint.weights(torch.float32), torch.float32, torch.device("cpu"))
    for name in checkpoint.weights(torch.float32).names():
        weights.skip(name) if "magic" not in name else None
    with pytest.raises(ModelLoadError, match="blk.0.attn_magic.weight"):
        weights.check_all_read()


def test_unknown_architecture(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "model.gguf", "mamba")
    writer.add_model()
    with pytest.raises(ModelLoadError, match="unknown architecture 'mamba'; supported in GGUF are"):
        writer.close()


@settings(max_examples=300, derandomize=True, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 255)), min_size=1))
def test_damage_is_a_load_error_or_harmless(
    flips: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    original = folder / "whole.gguf"
    if not original.exists():
        writer = Writer(original, "llama")
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(["a", "b", "ab", "</s>"])
        writer.add_token_types([1, 1, 1, 3])
        writer.add_token_merges(["a b"])
        writer.add_eos_token_id(3)
        writer.add_model()
        writer.close()
    data = bytearray(original.read_bytes())
    header_len = GGUFCheckpoint(original, "whole").file.tensors["token_embd.weight"].start
    for position, bits in flips:
        data[position % header_len] ^= bits
    damaged = folder / "damaged_model.gguf"
    damaged.write_bytes(data)
    with suppress(ModelLoadError):
        checkpoint = GGUFCheckpoint(damaged, "damaged")
        checkpoint.tokenizer().encode("ab")


def test_experts_and_parts_are_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "experts.gguf", "llama")
    writer.add_expert_count(8)
    writer.add_model()
    with pytest.raises(ModelLoadError, match=r"models with experts \(8\) are not supported"):
        writer.close()
    writer = Writer(tmp_path / "part.gguf", "llama")
    writer.add_uint16("split.count", 3)
    writer.add_model()
    with pytest.raises(ModelLoadError, match="is one of 3 parts; join them first"):
        writer.close()


def test_missing_hyper_parameter(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tensor("token_embd.weight", random(VOCAB, HIDDEN))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelLoadError, match="lacks llama.block_count"):
        GGUFCheckpoint(tmp_path / "model.gguf", "model")

"""Reads the parts of a decoder out of a checkpoint, under the names that most checkpoints use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from sglang_lang.kernels.dispatch import Ops
from sglang_lang.kernels.ops.decoder_stack import DecoderStack, DecoderWeights
from sglang_lang.kernels.ops.linear import Linear

from ..checkpoints.config import ModelConfig, RopeConfig
from ..checkpoints.weights import Weights
from ..layers.attention import Attention
from ..layers.embedding import Embedding
from ..layers.linear import merge_linear
from ..layers.logits import LogitsHead
from ..layers.mlp import GatedMLP
from ..layers.norm import RMSNorm
from .decoder import Decoder, DecoderLayer
from .rope import rotary_table

LOAD_THREADS = 2  # more would mostly wait for memory, or for one another's Python


class Parts:
    """What a decoder of this configuration is made of.

    Args:
        config: sizes and kinds.
        weights: the checkpoint's, not scoped.
        ops: what the parts compute with.
    """

    def __init__(self, config: ModelConfig, weights: Weights, ops: Ops) -> None:
        self.config = config
        self.weights = weights
        self.ops = ops
        self._rotary_tables: dict[RopeConfig, Tensor] = {}

    def decoder(
        self,
        make_layer: Callable[[int, Weights], DecoderLayer],
        *,
        embedding_scale: float | None = None,
        norm_offset: float = 0.0,
    ) -> Decoder:
        """The whole model; ``make_layer`` gets a layer's index and its weights."""
        config, weights = self.config, self.weights
        shape = (config.vocab_size, config.hidden_size)
        name = "model.embed_tokens.weight"
        embedding = weights.take_matrix(name, *shape)
        if config.tie_word_embeddings or not config.has_head:  # no logits of the latter are used
            weights.skip("lm_head.weight")  # some checkpoints hold the same matrix twice
            projection = embedding
        else:
            projection = weights.take_matrix("lm_head.weight", *shape)
        layers = self._make_layers(make_layer)
        norm = self.norm(weights, "model.norm", offset=norm_offset)
        return Decoder(
            Embedding(weights.rows_of(name, embedding), weights.dtype, embedding_scale),
            layers,
            norm,
            LogitsHead(merge_linear(self.ops, [projection]), config.logits_soft_cap),
            self._stack(layers, norm),
        )

    def _make_layers(
        self, make_layer: Callable[[int, Weights], DecoderLayer]
    ) -> list[DecoderLayer]:
        """Several layers at a time, each of them on one thread: see ``registry.one_thread``."""
        for rope in self.config.ropes:
            self._rotary_table(rope)  # shared, so made before

        def make(index: int) -> DecoderLayer:
            with torch.inference_mode():  # holds for one thread
                return make_layer(index, self.weights.scope(f"model.layers.{index}"))

        with ThreadPoolExecutor(LOAD_THREADS, thread_name_prefix="load") as pool:
            return list(pool.map(make, range(self.config.num_layers)))

    def _stack(self, layers: Sequence[DecoderLayer], norm: RMSNorm) -> DecoderStack | None:
        if self.ops.pack_decoder is None:
            return None
        config = self.config
        return self.ops.pack_decoder(
            DecoderWeights(
                layers=[layer.weights() for layer in layers],
                final_norm=norm.weight,
                eps=norm.eps,
                num_heads=config.num_heads,
                num_kv_heads=config.num_kv_heads,
                head_dim=config.head_dim,
                scale=config.attention_scale,
                soft_cap=None,
                activation=config.activation,
            )
        )

    def norm(
        self, weights: Weights, name: str, *, size: int | None = None, offset: float = 0.0
    ) -> RMSNorm:
        """A norm over ``size`` channels (hidden_size by default); Gemma stores its weight - 1."""
        size = size or self.config.hidden_size
        weight = weights.take(f"{name}.weight", size, dtype=torch.float32)
        return RMSNorm(self.ops, weight + offset, self.config.norm_eps)

    def attention(
        self,
        layer_idx: int,
        weights: Weights,
        *,
        q_norm: RMSNorm | None = None,
        k_norm: RMSNorm | None = None,
    ) -> Attention:
        """``q_proj``, ``k_proj``, ``v_proj`` merged, and ``o_proj``."""
        config = self.config
        q_size = config.num_heads * config.head_dim
        kv_size = config.num_kv_heads * config.head_dim
        return Attention(
            ops=self.ops,
            layer_idx=layer_idx,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            qkv=self.linear(
                weights,
                {"q_proj": q_size, "k_proj": kv_size, "v_proj": kv_size},
                config.hidden_size,
                bias=config.qkv_bias,
            ),
            output=self.linear(
                weights, {"o_proj": config.hidden_size}, q_size, bias=config.output_bias
            ),
            cos_sin=self._rotary_table(config.ropes[layer_idx]),
            scale=config.attention_scale,
            window=config.windows[layer_idx],
            q_norm=q_norm,
            k_norm=k_norm,
        )

    def mlp(self, weights: Weights) -> GatedMLP:
        """``gate_proj`` and ``up_proj`` merged, and ``down_proj``."""
        config = self.config
        inner = config.intermediate_size
        is_silu = config.activation == "silu"
        return GatedMLP(
            gate_up=self.linear(
                weights,
                {"gate_proj": inner, "up_proj": inner},
                config.hidden_size,
                bias=config.mlp_bias,
            ),
            down=self.linear(
                weights, {"down_proj": config.hidden_size}, inner, bias=config.mlp_bias
            ),
            act_and_mul=self.ops.silu_and_mul if is_silu else self.ops.gelu_tanh_and_mul,
        )

    def linear(
        self, weights: Weights, out_sizes: Mapping[str, int], in_size: int, *, bias: bool
    ) -> Linear:
        """The named projections of one input, merged in this order."""
        return merge_linear(
            self.ops,
            [
                weights.take_matrix(f"{name}.weight", size, in_size)
                for name, size in out_sizes.items()
            ],
            [weights.take(f"{name}.bias", size) for name, size in out_sizes.items()]
            if bias
            else None,
        )

    def _rotary_table(self, rope: RopeConfig) -> Tensor:
        """Layers with the same rotary embedding share one table."""
        table = self._rotary_tables.get(rope)
        if table is None:
            table = rotary_table(rope, self.config.context_len).to(self.weights.device)
            self._rotary_tables[rope] = table
        return table

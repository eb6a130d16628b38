"""What a model is: sizes, rotary embedding, windows, special ids, sampling defaults.

``ModelConfig.from_hf`` reads the dictionary of a ``config.json``; a GGUF file's metadata is put in
that form first (``gguf_config.py``), so the rules live here once. Imports no tensor library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from ..errors import ModelLoadError
from .embedding_config import EmbeddingConfig

Activation = Literal["silu", "gelu_tanh"]
_Number = TypeVar("_Number", int, float)
RopeKind = Literal["default", "linear", "dynamic", "llama3", "yarn", "factors"]

_MAX_LAYERS = 10_000
# model_type of a checkpoint -> the file of runtime/models/ that defines it
FAMILIES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3_text",
}

_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
}


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Rotary embedding of one kind of layer; ``layers/rotary.py`` gives the formulas.

    ``factors`` divide the frequencies one by one (what llama.cpp stores of Llama 3.1's scaling).
    """

    theta: float
    rotary_dim: int
    kind: RopeKind = "default"
    factor: float = 1.0
    original_context_len: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    factors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """Sampling the model's authors recommend in generation_config.json; None: they say nothing."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One decoder-only model.

    ``windows[i]`` is layer i's attention window, None for full attention; ``ropes[i]`` its rotary
    embedding.
    """

    family: str  # the file in runtime/models/
    architecture: str  # as the checkpoint names it, for reports
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    context_len: int
    norm_eps: float
    activation: Activation
    attention_scale: float
    windows: tuple[int | None, ...]
    ropes: tuple[RopeConfig, ...]
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    has_head: bool = True  # False: the checkpoint only embeds
    logits_soft_cap: float | None = None
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    dtype: str = "bfloat16"
    generation: GenerationDefaults = GenerationDefaults()
    embedding: EmbeddingConfig = EmbeddingConfig()

    @classmethod
    def from_hf(
        cls, config: Mapping[str, Any], generation_config: Mapping[str, Any] | None = None
    ) -> ModelConfig:
        """Read a ``config.json`` and, if there is one, a ``generation_config.json``.

        Raises:
            ModelLoadError: the architecture is unknown, or a field is missing or out of range.
        """
        fields = _Fields(config)
        family = _family(config)
        generation_config = generation_config or {}
        hidden_size = fields.size("hidden_size")
        num_heads, num_kv_heads = _num_heads(fields)
        head_dim = fields.size("head_dim", default=max(hidden_size // num_heads, 1))
        local = _local_layers(family, fields)
        window = fields.optional("sliding_window", int)
        bias = bool(config.get("attention_bias", False))
        architecture = _architecture(config)
        is_tied = bool(config.get("tie_word_embeddings", family == "gemma3_text"))
        ropes = _ropes(fields, head_dim, local)
        return cls(
            family=family,
            architecture=architecture,
            hidden_size=hidden_size,
            intermediate_size=fields.size("intermediate_size"),
            num_layers=len(local),
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            vocab_size=fields.size("vocab_size"),
            context_len=_context_len(fields, ropes),
            norm_eps=fields.number("rms_norm_eps", default=1e-6),
            activation=_activation(config),
            attention_scale=float(config.get("query_pre_attn_scalar") or head_dim) ** -0.5,
            windows=tuple(window if is_local else None for is_local in local),
            ropes=ropes,
            qkv_bias=bias or family == "qwen2",
            output_bias=bias and family != "qwen2",
            mlp_bias=bool(config.get("mlp_bias", False)),
            tie_word_embeddings=is_tied,
            has_head=is_tied or not architecture.endswith("Model"),
            logits_soft_cap=fields.optional("final_logit_softcapping", float),
            bos_token_id=fields.optional("bos_token_id", int),
            eos_token_ids=_eos_token_ids(config, generation_config),
            dtype=_dtype(config),
            generation=_generation_defaults(generation_config),
        )


class _Fields:
    """Typed access to the fields of a config; an error names the field and the value."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def size(self, name: str, default: int | None = None, most: int = 2**31 - 1) -> int:
        value = self.config.get(name)
        if value is None:
            value = default
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
            raise ModelLoadError(
                f"config: {name} must be an integer between 1 and {most}, got {value!r}"
            )
        return value

    def number(self, name: str, default: float) -> float:
        value = self.config.get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ModelLoadError(f"config: {name} must be a number, got {value!r}")
        return float(value)

    def optional(self, name: str, kind: type[_Number]) -> _Number | None:
        value = self.config.get(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ModelLoadError(f"config: {name} must be a number, got {value!r}")
        return kind(value)


def _family(config: Mapping[str, Any]) -> str:
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise ModelLoadError(
            f"unknown architecture {model_type!r}; supported are {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def _num_heads(fields: _Fields) -> tuple[int, int]:
    """Query heads, and the key and value heads that groups of them share."""
    num_heads = fields.size("num_attention_heads")
    num_kv_heads = fields.size("num_key_value_heads", default=num_heads)
    if num_heads % num_kv_heads:
        raise ModelLoadError(
            f"config: num_attention_heads ({num_heads}) is no multiple of "
            f"num_key_value_heads ({num_kv_heads})"
        )
    return num_heads, num_kv_heads


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures") or [config["model_type"]]
    return str(names[0])


def _activation(config: Mapping[str, Any]) -> Activation:
    name = config.get("hidden_activation") or config.get("hidden_act") or "silu"
    if name not in _ACTIVATIONS:
        raise ModelLoadError(
            f"config: hidden_act {name!r} is not supported; known are {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]


def _dtype(config: Mapping[str, Any]) -> str:
    name = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    if name not in ("float32", "bfloat16", "float16"):
        raise ModelLoadError(f"config: dtype {name!r} is not float32, bfloat16 or float16")
    return name


def _local_layers(family: str, fields: _Fields) -> list[bool]:
    """For each layer, whether it attends within the sliding window only."""
    config = fields.config
    num_layers = fields.size("num_hidden_layers", most=_MAX_LAYERS)
    layer_types = config.get("layer_types")
    if layer_types is not None:
        if len(layer_types) != num_layers:
            raise ModelLoadError(
                f"config: layer_types has {len(layer_types)} entries for {num_layers} layers"
            )
        return [layer_type == "sliding_attention" for layer_type in layer_types]
    if family == "gemma3_text":
        pattern = fields.size("sliding_window_pattern", default=6)
        return [(layer + 1) % pattern != 0 for layer in range(num_layers)]
    if family in ("qwen2", "qwen3"):
        first = config.get("max_window_layers", num_layers)
        return [
            bool(config.get("use_sliding_window")) and layer >= first for layer in range(num_layers)
        ]
    return [config.get("sliding_window") is not None] * num_layers


def _ropes(fields: _Fields, head_dim: int, local: list[bool]) -> tuple[RopeConfig, ...]:
    """Each layer's rotary embedding, from any of the spellings transformers has used.

    Newest: ``rope_parameters``, flat or one entry a layer type. Older: ``rope_theta`` and
    ``rope_scaling`` for all layers, and ``rope_local_base_freq`` for the sliding ones.
    """
    config = fields.config
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    by_type = {
        name: value for name, value in parameters.items() if isinstance(value, Mapping)
    }  # {"full_attention": {...}, "sliding_attention": {...}}
    full = _rope(fields, by_type.get("full_attention", parameters), head_dim)
    sliding = full
    if "sliding_attention" in by_type:
        sliding = _rope(fields, by_type["sliding_attention"], head_dim)
    elif config.get("rope_local_base_freq") is not None:
        sliding = RopeConfig(fields.number("rope_local_base_freq", 0.0), full.rotary_dim)
    return tuple(sliding if is_local else full for is_local in local)


def _rope(fields: _Fields, parameters: Mapping[str, Any], head_dim: int) -> RopeConfig:
    config = fields.config
    kind: Any = parameters.get("rope_type") or parameters.get("type") or "default"
    if kind not in get_args(RopeKind):
        known = ", ".join(get_args(RopeKind))
        raise ModelLoadError(f"config: rope_type {kind!r} is not supported; known are {known}")
    partial = parameters.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    optional = {
        name: parameters[name]
        for name in (
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "beta_fast",
            "beta_slow",
            "truncate",
            "attention_factor",
            "mscale",
            "mscale_all_dim",
        )
        if parameters.get(name) is not None
    }
    return RopeConfig(
        theta=float(parameters.get("rope_theta") or fields.number("rope_theta", 10000.0)),
        rotary_dim=int(head_dim * partial),
        kind=kind,
        original_context_len=int(
            parameters.get("original_max_position_embeddings")
            or fields.size("max_position_embeddings")
        ),
        factors=tuple(parameters.get("factors", ())),
        **optional,
    )


def _context_len(fields: _Fields, ropes: tuple[RopeConfig, ...]) -> int:
    """The longest sequence; YaRN configs often still give the length before scaling."""
    stated = fields.size("max_position_embeddings")
    scaled = [int(r.original_context_len * r.factor) for r in ropes if r.kind == "yarn"]
    return max([stated, *scaled])


def _eos_token_ids(config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[int, ...]:
    """generation_config.json wins: chat models list their end-of-turn token only there."""
    value = generation.get("eos_token_id")
    if value is None:
        value = config.get("eos_token_id")
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _generation_defaults(generation: Mapping[str, Any]) -> GenerationDefaults:
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    return GenerationDefaults(**{name: generation.get(name) for name in names})

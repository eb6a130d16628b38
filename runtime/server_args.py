"""Every setting of the system, in one frozen dataclass; ``command_line`` makes flags of its fields.

``resolve`` settles every ``None`` that means "auto" in one pure step before any process starts; no
other code changes the arguments. Only the constructors of the top object of each process read it.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sglang_lang.kernels.cpu import numa
from sglang_lang.kernels.cpu.isa import detect_isa

from .errors import ServerArgsError
from .logs import LogFormat

DEFAULT_PORT = 30000

SECRETS = frozenset({"api_key", "admin_api_key", "ssl_keyfile_password"})

Policy = Literal["lpm", "dfs-weight", "fcfs", "lof", "random", "priority"]


_POSITIVE = (
    "max_total_tokens",
    "max_running_requests",
    "max_queued_requests",
    "context_length",
    "cpu_threads",
    "kv_tier_size",
    "max_body_size",
    "rate_limit",
    "max_concurrent_requests",
    "request_timeout",
)


def _arg(help_text: str, default: Any, **metadata: Any) -> Any:
    if default is MISSING:
        return field(metadata={"help": help_text, **metadata})
    return field(default=default, metadata={"help": help_text, **metadata})


@dataclass(frozen=True, slots=True)
class ServerArgs:
    # --- model
    model_path: str | None = _arg(
        "folder, GGUF file or hub name; without it the embedded SmolLM2-135M-Instruct",
        None,
        aliases=("--model",),
    )
    tokenizer_path: str | None = _arg("folder with tokenizer.json, if not the model's own", None)
    served_model_name: str | None = _arg("the model's name over HTTP", None)
    load_format: Literal["auto", "safetensors", "gguf", "dummy"] = _arg(
        "where weights come from; dummy fills them with seeded random numbers", "auto"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = _arg("dtype of the weights", "auto")
    quantization: Literal["gguf", "awq", "gptq", "int8", "int4"] | None = _arg(
        "gguf, awq and gptq compute with the weights as such a checkpoint stores them; int8 and "
        "int4 round any model's weights as they load (all on a CPU)",
        None,
    )
    device: Literal["auto", "cpu", "cuda"] = _arg("where the model runs", "auto")
    kernel_backend: Literal["auto", "reference", "cpu", "triton"] = _arg(
        "which implementation of the kernels", "auto"
    )
    cpu_isa: Literal["amx", "avx512_bf16", "avx512", "avx2", "portable"] | None = _arg(
        "vector instructions of the CPU's kernels; the best this processor has, unless "
        "$SGLANG_LANG_CPU_ISA names others",
        None,
    )
    context_length: int | None = _arg("longest prompt plus output, if below the model's own", None)
    chat_template: str | None = _arg("a Jinja file instead of the model's own template", None)
    pooling: Literal["auto", "mean", "last"] = _arg(
        "what /v1/embeddings makes one vector of: the mean of the hidden states or the last one; "
        "auto is the model's own way, and mean for a model that has none",
        "auto",
    )
    tool_call_parser: Literal[
        "auto", "hermes", "llama3", "mistral", "pythonic", "deepseek", "json"
    ] = _arg("how the model writes tool calls; auto looks at its chat template", "auto")
    reasoning_parser: Literal["auto", "none", "qwen3", "deepseek-r1", "gpt-oss"] = _arg(
        "how the model writes its reasoning; auto looks at its chat template", "auto"
    )
    random_seed: int | None = _arg("seed of sampling for requests that bring none", None)
    # --- HTTP
    host: str = _arg("address to listen on", "127.0.0.1")
    port: int = _arg("port to listen on", DEFAULT_PORT)
    uds: str | None = _arg("path of a unix socket to listen on, instead of host and port", None)
    api_key: tuple[str, ...] = _arg("keys; clients must send one as a bearer token", ())
    admin_api_key: str | None = _arg("key without which admin routes are closed", None)
    max_body_size: int = _arg("most bytes in the body of a request", 64 << 20)
    rate_limit: float | None = _arg("requests a minute for each API key (or address)", None)
    max_concurrent_requests: int | None = _arg(
        "requests at a time for each API key (or address)", None
    )
    request_timeout: float | None = _arg("seconds after which a request is aborted", None)
    cors_origins: tuple[str, ...] = _arg("origins whose pages may call the server; * for all", ())
    ssl_certfile: str | None = _arg("PEM file of the certificate: serve HTTPS", None)
    ssl_keyfile: str | None = _arg("PEM file of its key", None)
    ssl_keyfile_password: str | None = _arg("password of the key", None)
    graceful_timeout: float = _arg("seconds that running requests have after SIGTERM", 30.0)
    log_level: Literal["debug", "info", "warning", "error"] = _arg("how much to log", "info")
    log_format: LogFormat = _arg("lines of text, or of JSON", "text")
    log_requests: bool = _arg("log every request", False)
    log_requests_level: int = _arg(
        "0: sizes and times; 1: sampling parameters as well; 2: and the beginnings of prompt and "
        "output; 3: and all of them",
        2,
    )
    otlp_endpoint: str | None = _arg(
        "where to send OpenTelemetry traces, such as http://localhost:4318 (otel extra)", None
    )
    skip_server_warmup: bool = _arg("do not send a first request at start", False)
    watchdog_timeout: float = _arg("seconds without a step before the scheduler is replaced", 300.0)
    files_dir: str | None = _arg(
        "folder of /v1/files and /v1/batches; a restarted server goes on with its batches. By "
        "default one in the cache folder for each port",
        None,
    )
    responses_dir: str | None = _arg(
        "folder where stored responses of /v1/responses survive a restart; else they are in memory",
        None,
    )
    # --- memory
    mem_fraction_static: float | None = _arg(
        "part of the free memory for weights and KV cache", None
    )
    max_total_tokens: int | None = _arg("KV slots; computed from memory when not given", None)
    kv_cache_dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "fp8"] = _arg(
        "dtype of the KV cache; on a CPU also int8, with a scale for each head of a token, and fp8 "
        "(e4m3, without scales)",
        "auto",
    )
    page_size: int = _arg("tokens to a page of the KV cache", 1)
    kv_tier_size: float | None = _arg(
        "GiB for KV evicted from the cache: in files with --cache-dir, else in host memory (GPU)",
        None,
    )
    cache_dir: str | None = _arg(
        "folder for evicted KV, reused after a restart by the same model; 8 GiB at most, unless "
        "--kv-tier-size says otherwise",
        None,
    )
    # --- scheduling
    max_running_requests: int | None = _arg("requests in one batch", None)
    max_queued_requests: int | None = _arg("requests waiting before the server answers 429", None)
    chunked_prefill_size: int | None = _arg("most prompt tokens in one step; -1 for no limit", None)
    schedule_policy: Policy = _arg("order of the waiting queue", "lpm")
    priority_scheduling_preemption_threshold: int = _arg(
        "policy priority: how much greater a waiting request's priority must be, and more, to "
        "send a running one back to the queue",
        10,
    )
    schedule_conservativeness: float = _arg(
        "above 1 admits fewer requests, below 1 more (and retracts more)", 1.0
    )
    disable_radix_cache: bool = _arg("do not share KV between requests", False)
    radix_eviction_policy: Literal["lru", "lfu", "fifo", "priority", "size"] = _arg(
        "which cached leaf goes first", "lru"
    )
    disable_overlap_schedule: bool = _arg("schedule and compute in turn", False)
    stream_interval: int = _arg("tokens between two messages of a stream", 1)
    incremental_streaming_output: bool = _arg(
        "streams of /generate carry what is new, not all text and ids so far", False
    )
    cpu_threads: int | None = _arg(
        "threads of the model's forward pass on a CPU; by default one for each core", None
    )
    numa_node: int | None = _arg(
        "run the model on the cores and in the memory of this NUMA node; by default on all, with "
        "memory from each in turn",
        None,
    )
    # --- speculation
    speculative_algorithm: Literal["ngram", "none"] | None = _arg(
        "ngram drafts what followed the last tokens earlier in the same request, and verifies it "
        "in one step, with the same text; the default on a CPU",
        None,
    )
    speculative_num_draft_tokens: int = _arg("longest draft", 8)
    speculative_ngram_min_match: int = _arg("fewest tokens that must match for a draft", 3)
    speculative_max_batch: int | None = _arg("most requests in a step that has drafts", None)
    # --- structured output
    grammar_backend: Literal["native", "llguidance", "outlines"] = _arg(
        "engine of the constraints", "native"
    )
    disable_jump_forward: bool = _arg("decode forced text token by token", False)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("port", 0, 65535),
            ("page_size", 1, 1024),
            ("stream_interval", 1, 1_000_000),
            ("log_requests_level", 0, 3),
            ("speculative_num_draft_tokens", 1, 64),
            ("speculative_ngram_min_match", 1, 16),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ServerArgsError(
                    f"--{name.replace('_', '-')} must be in [{low}, {high}], got {value}"
                )
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ServerArgsError(f"--{name.replace('_', '-')} must be positive, got {value}")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ServerArgsError("--ssl-keyfile needs --ssl-certfile")
        if "" in self.api_key or self.admin_api_key == "":
            raise ServerArgsError("--api-key and --admin-api-key must not be empty")
        if self.disable_radix_cache and (self.kv_tier_size or self.cache_dir):
            raise ServerArgsError(
                "--kv-tier-size and --cache-dir keep what the radix cache evicts: drop them, or "
                "--disable-radix-cache"
            )
        fraction = self.mem_fraction_static
        if fraction is not None and not 0.0 < fraction < 1.0:
            raise ServerArgsError(f"--mem-fraction-static must be in (0, 1), got {fraction}")

    def public(self) -> dict[str, Any]:
        """The fields by name, without what must stay secret."""
        return {name: value for name, value in asdict(self).items() if name not in SECRETS}


def resolve(args: ServerArgs) -> ServerArgs:
    """The same arguments with every "auto" settled that can be settled before the model is read.

    Raises:
        ServerArgsError: a value that this machine, or the device asked for, cannot serve.
    """
    on_gpu = _has_nvidia_gpu() if args.device == "auto" else args.device == "cuda"
    defaults: dict[str, Any] = {
        "chunked_prefill_size": 8192 if on_gpu else 512,
        "max_running_requests": 256 if on_gpu else 128,
        "max_queued_requests": 8192,
        "speculative_algorithm": "none" if on_gpu else "ngram",
        "speculative_max_batch": 16 if on_gpu else 2,
        "mem_fraction_static": 0.85 if on_gpu else 0.3,
    }
    settled = {name: value for name, value in defaults.items() if getattr(args, name) is None}
    settled["device"] = "cuda" if on_gpu else "cpu"
    if args.dtype == "auto":
        settled["dtype"] = "bfloat16"
    if args.cache_dir is not None and args.kv_tier_size is None:
        settled["kv_tier_size"] = 8.0
    settled_args = replace(args, **settled)
    _check_device(settled_args)
    if on_gpu or (args.cpu_threads is not None and args.numa_node is None):
        return settled_args
    return replace(settled_args, cpu_threads=_cpu_threads(args))


def _check_device(args: ServerArgs) -> None:
    """Refuse what the device cannot do, before a process has started and a model was read."""
    if args.device == "cuda":
        _check_gpu(args)
    else:
        _check_cpu(args)


def _check_gpu(args: ServerArgs) -> None:
    if not _has_nvidia_gpu():
        raise ServerArgsError("--device cuda: no NVIDIA GPU is here; leave --device away")
    if args.kernel_backend == "cpu":
        raise ServerArgsError("--kernel-backend cpu cannot serve --device cuda")
    if args.quantization:
        raise ServerArgsError(f"--quantization {args.quantization} needs --device cpu")
    if args.kv_cache_dtype in ("int8", "fp8"):
        raise ServerArgsError(f"--kv-cache-dtype {args.kv_cache_dtype} needs --device cpu")
    if args.numa_node is not None:
        raise ServerArgsError(f"--numa-node {args.numa_node} needs --device cpu")


def _check_cpu(args: ServerArgs) -> None:
    if args.kernel_backend == "triton":
        raise ServerArgsError("--kernel-backend triton needs --device cuda")
    try:
        detect_isa(args.cpu_isa)
    except ValueError as error:
        raise ServerArgsError(str(error)) from error
    if args.kv_tier_size is not None and args.cache_dir is None:
        raise ServerArgsError("--kv-tier-size on a CPU keeps KV in files: give --cache-dir as well")
    if args.quantization and args.dtype != "bfloat16":
        raise ServerArgsError(
            f"--quantization {args.quantization} computes in bfloat16, not in {args.dtype}: leave "
            "--dtype away"
        )
    for flag, value in (("--dtype", args.dtype), ("--kv-cache-dtype", args.kv_cache_dtype)):
        if value == "float16":
            raise ServerArgsError(
                f"{flag} float16: a CPU computes in bfloat16 or float32; choose one of these"
            )


def _cpu_threads(args: ServerArgs) -> int | None:
    """How many threads there should be; None leaves it to torch, which obeys OMP_NUM_THREADS."""
    try:
        placement = numa.place(numa.read_cores(), os.sched_getaffinity(0), args.numa_node)
    except ValueError as error:
        raise ServerArgsError(f"--numa-node: {error}") from error
    if args.cpu_threads is None and "OMP_NUM_THREADS" not in os.environ:
        return placement.threads
    return args.cpu_threads


def _has_nvidia_gpu() -> bool:
    """Asked of the driver, since importing torch costs the API process a second."""
    return Path("/dev/nvidiactl").exists()

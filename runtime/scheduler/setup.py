"""Builds a scheduler from ServerArgs: the one place where its parts are put together."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from sglang_lang.constrained.compiler import GrammarCompiler
from sglang_lang.constrained.kept_grammars import grammar_folder
from sglang_lang.constrained.vocabulary import Vocabulary
from sglang_lang.constrained.vocabulary_store import load_vocabulary
from sglang_lang.kernels.cache_format import FLOAT8, row_width
from sglang_lang.kernels.cpu import numa
from sglang_lang.kernels.dispatch import Ops, load_ops
from sglang_lang.radix_cache.allocator import TokenAllocator
from sglang_lang.radix_cache.host_tier import HostTier
from sglang_lang.radix_cache.memory_pool import ReqToTokenPool, TokenToKVPool
from sglang_lang.radix_cache.prefix_cache import NoCache, PrefixCache, RadixCache

from ..checkpoints.checkpoint import Checkpoint, open_checkpoint
from ..checkpoints.config import ModelConfig
from ..ipc import SchedulerPort
from ..messages import SchedulerReady
from ..model_executor.memory import available_bytes, fit_slots, slot_bytes
from ..model_executor.model_runner import ModelRunner
from ..models.registry import CausalLM, load_model
from ..server_args import ServerArgs
from ..text.chat import load_tokenizer
from ..text.tokenizer import Tokenizer
from .grammar_queue import GrammarQueue
from .jump_forward import JumpForward
from .kv_cache import KVCache
from .limits import Limits
from .planner import Planner
from .policy import schedule_policy
from .results import ResultProcessor
from .scheduler import Scheduler
from .served_model import ServedModel
from .speculation import NgramSpeculation
from .step_builder import StepBuilder
from .tier_setup import make_tier

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
KV_DTYPES = {**DTYPES, "int8": torch.int8, "fp8": FLOAT8}
# Beyond this many tokens of cache for every running request, more memory buys little.
USEFUL_CONTEXTS = 64


@dataclass(slots=True)
class LoadTimes:
    """Seconds of each phase of start-up, the first of which began ``age`` seconds ago."""

    age: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self._last = time.perf_counter() - self.age

    def mark(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = now - self._last
        self._last = now


def make_scheduler(
    args: ServerArgs,
    port: SchedulerPort,
    weights_path: str | None = None,
    times: LoadTimes | None = None,
) -> tuple[Scheduler, SchedulerReady]:
    """Load the model and put a scheduler around it.

    Args:
        args: resolved arguments.
        port: where the scheduler's messages come from and go to.
        weights_path: safetensors that have replaced the model's own weights since the start.
        times: has the phases that are over.

    Returns the scheduler, and the message that tells the API side what it can do.

    Raises:
        ModelLoadError, ServerArgsError: the checkpoint cannot be loaded as the arguments ask.
    """
    times = times or LoadTimes()
    _take_place(args)
    device = torch.device(args.device)
    ops = load_ops(device, args.kernel_backend, args.cpu_isa)
    times.mark("kernels")
    checkpoint = open_checkpoint(args.model_path, args.load_format)
    config = checkpoint.config
    context_len = min(args.context_length or config.context_len, config.context_len)
    weights = open_checkpoint(weights_path, "safetensors") if weights_path else checkpoint
    load = _loader(args, ops, device, context_len)
    model = load(weights)
    times.mark("weights")
    tokenizer = load_tokenizer(checkpoint, args)
    times.mark("tokenizer")
    kv_pool, allocator = _kv_pool(args, config, context_len, device)
    assert args.max_running_requests is not None
    # An ended request keeps its row until no step in flight reads it: see KVCache.reclaim_rows.
    req_pool = ReqToTokenPool(2 * args.max_running_requests, context_len, device)
    runner = ModelRunner(model, ops, kv_pool, req_pool, device)
    tier = make_tier(args, checkpoint, context_len, kv_pool, runner.run_in_order)
    kv = KVCache(allocator, req_pool, _prefix_cache(args, allocator, tier), tier)
    times.mark("kv_cache")
    vocabulary = load_vocabulary(tokenizer.token_bytes, tokenizer.eos_token_ids)
    spelled, speculation = _spelled_bytes(tokenizer), _speculation(args)
    scheduler = Scheduler(
        port=port,
        runner=runner,
        kv=kv,
        planner=_planner(args, kv, context_len, speculation),
        builder=StepBuilder(req_pool, config.vocab_size, frozenset(tokenizer.eos_token_ids)),
        results=_results(args, tokenizer, vocabulary, speculation),
        grammars=_grammars(args, vocabulary, spelled),
        token_bytes=spelled.__getitem__,
        limits=Limits(context_len, allocator.available()),
        vocab_size=config.vocab_size,
        overlap=not args.disable_overlap_schedule,
        random_seed=args.random_seed,
        served=ServedModel(runner, weights, load),
    )
    times.mark("scheduler")
    return scheduler, _ready(context_len, allocator.available(), args.max_running_requests, times)


def _take_place(args: ServerArgs) -> None:
    """Bind this thread, from which those of the model descend, to the machine's nodes."""
    if args.device != "cpu":
        return
    if args.cpu_threads is not None:
        torch.set_num_threads(args.cpu_threads)
    placement = numa.place(numa.read_cores(), os.sched_getaffinity(0), args.numa_node)
    try:
        numa.apply(placement)
    except OSError as error:
        logger.warning("threads and memory are left where the system puts them: %s", error)


def _grammars(args: ServerArgs, vocabulary: Vocabulary, spelled: list[bytes]) -> GrammarQueue:
    compiler = GrammarCompiler(
        vocabulary, backend=args.grammar_backend, spelled=spelled, store=grammar_folder()
    )
    grammars = GrammarQueue(compiler)
    grammars.warm_up()
    return grammars


def _loader(
    args: ServerArgs, ops: Ops, device: torch.device, context_len: int
) -> Callable[[Checkpoint], CausalLM]:
    """Reads a checkpoint's weights as the arguments ask for them."""
    dtype = DTYPES[args.dtype]
    return lambda source: load_model(source, ops, dtype, device, context_len, args.quantization)


def _spelled_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """The text of every token; special tokens as they are spelled, for stop strings."""
    return [
        tokenizer.decode([token_id], skip_special_tokens=False).encode() if data is None else data
        for token_id, data in enumerate(tokenizer.token_bytes)
    ]


def _results(
    args: ServerArgs,
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    speculation: NgramSpeculation | None,
) -> ResultProcessor:
    jump_forward = None if args.disable_jump_forward else JumpForward(tokenizer, vocabulary)
    return ResultProcessor(
        frozenset(tokenizer.eos_token_ids), jump_forward, args.stream_interval, speculation
    )


def _ready(
    context_len: int, num_slots: int, max_running_requests: int, times: LoadTimes
) -> SchedulerReady:
    return SchedulerReady(
        pid=0,
        max_total_num_tokens=num_slots,
        max_running_requests=max_running_requests,
        max_req_input_len=min(context_len, num_slots) - 1,
        context_len=context_len,
        load_seconds=times.seconds,
    )


def _speculation(args: ServerArgs) -> NgramSpeculation | None:
    if args.speculative_algorithm != "ngram":
        return None
    assert args.speculative_max_batch is not None
    return NgramSpeculation(
        args.speculative_num_draft_tokens,
        args.speculative_ngram_min_match,
        args.speculative_max_batch,
    )


def _planner(
    args: ServerArgs, kv: KVCache, context_len: int, speculation: NgramSpeculation | None
) -> Planner:
    assert args.max_running_requests is not None and args.chunked_prefill_size is not None
    return Planner(
        kv,
        schedule_policy(
            args.schedule_policy,
            kv,
            args.priority_scheduling_preemption_threshold,
            args.random_seed,
        ),
        args.chunked_prefill_size if args.chunked_prefill_size > 0 else context_len,
        args.max_running_requests,
        args.schedule_conservativeness,
        speculation,
    )


def _kv_pool(
    args: ServerArgs, config: ModelConfig, context_len: int, device: torch.device
) -> tuple[TokenToKVPool, TokenAllocator]:
    name = args.dtype if args.kv_cache_dtype == "auto" else args.kv_cache_dtype
    dtype = KV_DTYPES[name]
    width = row_width(config.head_dim, dtype)
    shape = (config.num_layers, config.num_kv_heads, width)
    if args.max_total_tokens is not None:
        num_slots = args.max_total_tokens + -args.max_total_tokens % args.page_size
    else:
        assert args.mem_fraction_static is not None
        num_slots = fit_slots(
            int(available_bytes(device) * args.mem_fraction_static),
            slot_bytes(*shape, dtype),
            context_len * USEFUL_CONTEXTS,
            args.page_size,
        )
    num_slots += args.page_size  # the first page is never handed out
    pool = TokenToKVPool(num_slots, *shape, dtype, device)
    return pool, TokenAllocator(num_slots, args.page_size)


def _prefix_cache(
    args: ServerArgs, allocator: TokenAllocator, tier: HostTier | None
) -> PrefixCache:
    if args.disable_radix_cache:
        return NoCache(allocator.page_size)
    on_evict = tier.save if tier is not None else None
    return RadixCache(allocator, args.radix_eviction_policy, on_evict)

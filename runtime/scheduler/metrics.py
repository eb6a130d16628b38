"""What the scheduler tells /metrics and /server_info about itself."""

from __future__ import annotations

from ..messages import SchedulerMetrics
from .grammar_queue import GrammarQueue
from .kv_cache import KVCache
from .limits import Limits
from .planner import Planner, Queues
from .stats import SchedulerStats

Measured = tuple[Queues, KVCache, Planner, GrammarQueue, SchedulerStats, Limits]


def snapshot(
    queues: Queues,
    kv: KVCache,
    planner: Planner,
    grammars: GrammarQueue,
    stats: SchedulerStats,
    limits: Limits,
) -> dict[str, object]:
    """The numbers behind /server_info."""
    cache, free = kv.prefix_cache, kv.allocator.available()
    return {
        "num_running_reqs": len(queues.running),
        "num_queue_reqs": len(queues.waiting),
        "num_grammar_queue_reqs": len(grammars),
        "max_total_num_tokens": limits.max_total_tokens,
        "num_used_tokens": limits.max_total_tokens - free - cache.evictable_size,
        "num_free_slots": free,
        "num_cached_tokens": cache.total_size,
        "new_token_ratio": planner.new_token_ratio.value,
        "num_pinned_tokens": cache.pinned_size,
        **kv.counters(),
        **stats.snapshot(),
    }


def measure(
    queues: Queues,
    kv: KVCache,
    planner: Planner,
    grammars: GrammarQueue,
    stats: SchedulerStats,
    limits: Limits,
) -> SchedulerMetrics:
    """The state and the totals of this moment."""
    cache = kv.prefix_cache
    used = limits.max_total_tokens - kv.allocator.available() - cache.evictable_size
    return SchedulerMetrics(
        num_running_reqs=len(queues.running),
        num_queue_reqs=len(queues.waiting),
        num_grammar_queue_reqs=len(grammars),
        num_retracted_reqs=sum(req.num_retractions > 0 for req in queues.waiting),
        num_used_tokens=used,
        max_total_num_tokens=limits.max_total_tokens,
        token_usage=used / limits.max_total_tokens,
        utilization=len(queues.running) / planner.max_running,
        cache_hit_rate=cache.stats.hit_rate,
        gen_throughput=stats.recent_throughput,
        new_token_ratio=planner.new_token_ratio.value,
        page_size=kv.page_size,
        context_len=limits.context_len,
        num_retracted_requests_total=stats.retractions,
        evicted_tokens_total=cache.stats.evicted_tokens,
        forced_tokens_total=stats.forced_tokens,
        prefill_tokens_total=stats.prefill_tokens,
        scheduler_steps_total=stats.steps,
        scheduler_idle_seconds_total=stats.idle_seconds,
        num_grammar_cache_hit_total=grammars.cache_hits,
        num_grammar_aborted_total=grammars.refused,
        eviction_duration_seconds=kv.evict_seconds,
        grammar_compilation_time_seconds=grammars.compile_seconds,
    )

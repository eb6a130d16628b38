"""What the scheduler tells /metrics and /server_info about itself."""

from __future__ import annotations

from dataclasses import dataclass

from ..messages import SchedulerMetrics
from .admin import Admin
from .grammar_queue import GrammarQueue
from .kv_cache import KVCache
from .limits import Limits
from .planner import Planner, Queues
from .stats import SchedulerStats


@dataclass(frozen=True, slots=True)
class Measured:
    """The parts of a scheduler that have something to tell."""

    queues: Queues
    kv: KVCache
    planner: Planner
    grammars: GrammarQueue
    stats: SchedulerStats
    limits: Limits
    admin: Admin

    def snapshot(self) -> dict[str, object]:
        """The numbers behind /server_info."""
        kv, cache = self.kv, self.kv.prefix_cache
        return {
            "num_running_reqs": len(self.queues.running),
            "num_queue_reqs": len(self.queues.waiting),
            "num_grammar_queue_reqs": len(self.grammars),
            "max_total_num_tokens": self.limits.max_total_tokens,
            "num_used_tokens": self._used_tokens(),
            "num_free_slots": kv.allocator.available(),
            "num_cached_tokens": cache.total_size,
            "new_token_ratio": self.planner.new_token_ratio.value,
            "num_pinned_tokens": cache.pinned_size,
            "avg_spec_accept_length": self.stats.spec_accept_length,
            **kv.counters(),
            **self.stats.snapshot(),
        }

    def metrics(self) -> SchedulerMetrics:
        """The state and the totals of this moment."""
        kv, cache, stats, grammars = self.kv, self.kv.prefix_cache, self.stats, self.grammars
        used = self._used_tokens()
        return SchedulerMetrics(
            num_running_reqs=len(self.queues.running),
            num_queue_reqs=len(self.queues.waiting),
            num_grammar_queue_reqs=len(grammars),
            num_retracted_reqs=sum(req.num_retractions > 0 for req in self.queues.waiting),
            num_paused_reqs=self.admin.num_paused,
            num_used_tokens=used,
            max_total_num_tokens=self.limits.max_total_tokens,
            token_usage=used / self.limits.max_total_tokens,
            utilization=len(self.queues.running) / self.planner.max_running,
            cache_hit_rate=cache.stats.hit_rate,
            gen_throughput=stats.recent_throughput,
            new_token_ratio=self.planner.new_token_ratio.value,
            spec_accept_rate=stats.spec_accept_rate,
            spec_accept_length=stats.spec_accept_length,
            page_size=kv.page_size,
            context_len=self.limits.context_len,
            num_retracted_requests_total=stats.retractions,
            evicted_tokens_total=cache.stats.evicted_tokens,
            forced_tokens_total=stats.forced_tokens,
            prefill_tokens_total=stats.prefill_tokens,
            scheduler_steps_total=stats.steps,
            scheduler_idle_seconds_total=stats.idle_seconds,
            num_grammar_cache_hit_total=grammars.cache_hits,
            num_grammar_aborted_total=grammars.refused,
            num_grammar_timeout_total=grammars.timeouts,
            eviction_duration_seconds=kv.evict_seconds,
            grammar_compilation_time_seconds=grammars.compile_seconds,
        )

    def _used_tokens(self) -> int:
        free = self.kv.allocator.available() + self.kv.prefix_cache.evictable_size
        return self.limits.max_total_tokens - free

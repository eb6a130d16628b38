"""Every message that crosses the border between the API process and the scheduler.

msgpack through msgspec, never pickle. Each request ends in exactly one ``RequestOutput`` whose
``finish`` is set. Lists, not single messages, travel on the wire: one ``encode``, one ``decode``.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .histogram import Histogram
from .sampling_params import SamplingParams

# --------------------------------------------------------------------------- to the scheduler

Pooling = Literal["mean", "last"]


class GenerateRequest(msgspec.Struct, tag="generate", kw_only=True, omit_defaults=True):
    """One sequence to extend and decode. ``n > 1`` and batches are several of these.

    ``max_new_tokens == 0`` prefills only: it warms the cache, and with ``return_logprob`` scores
    the prompt. ``logprob_start_len`` is the first prompt position whose logprob is wanted; None
    asks for output tokens only. With ``pooling`` (and ``max_new_tokens == 0``) the answer is one
    vector: the mean of the prompt's last hidden states, or that of its last token.
    """

    rid: str
    input_ids: list[int]
    sampling_params: SamplingParams
    stream: bool = False
    return_logprob: bool = False
    logprob_start_len: int | None = None
    top_logprobs_num: int = 0
    token_ids_logprob: list[int] = []
    priority: int = 0
    extra_key: str | None = None
    pooling: Pooling | None = None


class AbortRequest(msgspec.Struct, tag="abort", kw_only=True):
    """End every request whose rid starts with ``rid_prefix`` ("" ends all).

    ``exact`` ends the one of just that rid: a client that leaves must not end ``r10`` with ``r1``.
    """

    rid_prefix: str
    exact: bool = False

    def names(self, rid: str) -> bool:
        return rid == self.rid_prefix if self.exact else rid.startswith(self.rid_prefix)


Action = Literal[
    "flush_cache",
    "stats",
    "metrics",
    "ping",
    "shutdown",
    "pin_prefix",
    "unpin_prefix",
    "radix_tree",
]


class ControlRequest(msgspec.Struct, tag="control", kw_only=True):
    """Anything that is not generation; answered by one ``ControlReply`` with the same id.

    ``input_ids`` and ``extra_key`` name a prefix to pin or unpin; ``most_nodes`` bounds the tree.
    """

    id: int
    action: Action
    input_ids: list[int] = []
    extra_key: str | None = None
    most_nodes: int = 0


PauseMode = Literal["abort", "retract", "in_place"]
MemoryTag = Literal["weights", "kv_cache"]


class PauseGeneration(msgspec.Struct, tag="pause", kw_only=True):
    """Plan no step until ``ContinueGeneration``; new requests wait.

    Running ones are aborted; or go back to the queue, their output kept and their KV free to be
    flushed (``retract``); or stay as they are (``in_place``).
    """

    id: int = 0
    mode: PauseMode = "abort"


class ContinueGeneration(msgspec.Struct, tag="continue", kw_only=True):
    id: int = 0


class UpdateWeights(msgspec.Struct, tag="update_weights", kw_only=True):
    """Replace the weights by those of a folder of safetensors, of a model of the same shape.

    They are loaded and checked while requests go on. Then the running ones finish, or are
    aborted, or if the scheduler is paused stay as they are; then the weights change.
    """

    id: int = 0
    model_path: str
    abort_all_requests: bool = False
    flush_cache: bool = True


class ReleaseMemory(msgspec.Struct, tag="release_memory", kw_only=True):
    """Give memory back until ``ResumeMemory``. No request may be there; new ones wait."""

    id: int = 0
    tags: list[MemoryTag]


class ResumeMemory(msgspec.Struct, tag="resume_memory", kw_only=True):
    """Take it again; weights are read from where they were."""

    id: int = 0
    tags: list[MemoryTag]


class StartProfile(msgspec.Struct, tag="start_profile", kw_only=True):
    """Record what the model does with torch's profiler, ``num_steps`` steps or until stopped."""

    id: int = 0
    output_dir: str
    prefix: str = ""
    num_steps: int | None = None
    with_stack: bool = False
    record_shapes: bool = False


class StopProfile(msgspec.Struct, tag="stop_profile", kw_only=True):
    id: int = 0


AdminRequest = (
    PauseGeneration
    | ContinueGeneration
    | UpdateWeights
    | ReleaseMemory
    | ResumeMemory
    | StartProfile
    | StopProfile
)
ToScheduler = GenerateRequest | AbortRequest | ControlRequest | AdminRequest

# --------------------------------------------------------------------------- from the scheduler


class FinishReason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request ended.

    ``stop``: ``matched`` is the stop string or token id. ``length``: the token budget or the
    context ended. ``abort``: ``message`` says why, ``status_code`` is the HTTP status and ``param``
    the sampling parameter that is to blame.
    """

    type: Literal["stop", "length", "abort"]
    matched: int | str | None = None
    message: str | None = None
    status_code: int | None = None
    param: str | None = None


class Logprobs(msgspec.Struct, omit_defaults=True):
    """Logprobs of a run of tokens; the lists are parallel.

    ``values[i]`` is None only for the very first prompt token. ``top[i]`` and ``chosen[i]`` hold
    (logprob, token_id) for the ``top_logprobs_num`` likeliest and the asked-for token ids.
    ``forced[i]``: the constraint allowed no other text, so the token was not sampled.
    """

    token_ids: list[int] = []
    values: list[float | None] = []
    top: list[list[tuple[float, int]]] = []
    chosen: list[list[tuple[float, int]]] = []
    forced: list[bool] = []

    def cut(self, length: int) -> None:
        """Keep the first ``length`` tokens."""
        for column in (self.token_ids, self.values, self.top, self.chosen, self.forced):
            del column[length:]

    def take(self, length: int) -> Logprobs:
        """Take the first ``length`` tokens away, and return them."""
        taken = Logprobs(
            token_ids=self.token_ids[:length],
            values=self.values[:length],
            top=self.top[:length],
            chosen=self.chosen[:length],
            forced=self.forced[:length],
        )
        for column in (self.token_ids, self.values, self.top, self.chosen, self.forced):
            del column[:length]
        return taken


class RequestTimes(msgspec.Struct, frozen=True):
    """Seconds a request spent in the scheduler before its first step."""

    grammar: float = 0.0  # until its constraint was compiled
    queue: float = 0.0  # then, until a batch had room for it


class RequestOutput(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What one request gained since its last message.

    ``replaced`` counts tokens sent before that are withdrawn in favour of ``token_ids``
    (retokenised by jump-forward); the text already streamed stays a prefix of the text, and of a
    request with logprobs nothing is withdrawn. Counters are totals so far; of the
    cached tokens ``host_tokens`` came back from the host tier. ``forced``: places
    in ``token_ids`` that jump-forward filled. ``pooled``: a pooling request's vector, float32.
    """

    rid: str
    token_ids: list[int]
    replaced: int = 0
    finish: FinishReason | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    host_tokens: int = 0
    forced_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    forced: list[int] = []
    num_retractions: int = 0
    input_logprobs: Logprobs | None = None
    output_logprobs: Logprobs | None = None
    pooled: bytes = b""
    warnings: list[str] = []
    times: RequestTimes | None = None  # with ``finish``


class BatchOutput(msgspec.Struct, tag="outputs"):
    outputs: list[RequestOutput]


class SchedulerMetrics(msgspec.Struct, kw_only=True):
    """The scheduler's part of /metrics, under upstream's names.

    Names that end in ``_total`` only grow over the life of a scheduler.
    """

    num_running_reqs: int
    num_queue_reqs: int
    num_grammar_queue_reqs: int
    num_retracted_reqs: int  # of those in the queue
    num_paused_reqs: int  # while generation is paused, or memory released
    num_used_tokens: int
    max_total_num_tokens: int
    token_usage: float
    utilization: float  # running requests, of as many as one batch may have
    cache_hit_rate: float
    gen_throughput: float
    new_token_ratio: float
    spec_accept_rate: float  # of the requests that have ended
    spec_accept_length: float
    page_size: int
    context_len: int
    num_retracted_requests_total: int
    evicted_tokens_total: int
    forced_tokens_total: int
    prefill_tokens_total: int
    scheduler_steps_total: int
    scheduler_idle_seconds_total: float
    num_grammar_cache_hit_total: int
    num_grammar_aborted_total: int
    num_grammar_timeout_total: int
    eviction_duration_seconds: Histogram
    grammar_compilation_time_seconds: Histogram


class ControlReply(msgspec.Struct, tag="reply", kw_only=True):
    """``data`` answers most actions, ``metrics`` that of the name."""

    id: int
    ok: bool
    message: str = ""
    data: dict[str, Any] = {}
    metrics: SchedulerMetrics | None = None


class SchedulerReady(msgspec.Struct, tag="ready", kw_only=True):
    """Sent once, when the scheduler can take requests."""

    pid: int
    max_total_num_tokens: int
    max_running_requests: int
    max_req_input_len: int
    context_len: int
    load_seconds: dict[str, float] = {}


class SchedulerFailed(msgspec.Struct, tag="failed", kw_only=True):
    """Sent instead of ``SchedulerReady`` when start-up fails."""

    message: str


FromScheduler = BatchOutput | ControlReply | SchedulerReady | SchedulerFailed

# --------------------------------------------------------------------------- the wire

_encoder = msgspec.msgpack.Encoder()
_to_scheduler_decoder = msgspec.msgpack.Decoder(list[ToScheduler])
_from_scheduler_decoder = msgspec.msgpack.Decoder(list[FromScheduler])


def encode(messages: list[Any]) -> bytes:
    return _encoder.encode(messages)


def decode_to_scheduler(data: bytes) -> list[ToScheduler]:
    return _to_scheduler_decoder.decode(data)


def decode_from_scheduler(data: bytes) -> list[FromScheduler]:
    return _from_scheduler_decoder.decode(data)

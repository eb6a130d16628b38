"""What an operator asks of a running scheduler: pause, new weights, memory back, a profile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from ..checkpoints.checkpoint import Checkpoint
from ..errors import SGLangError
from ..messages import (
    AbortRequest,
    AdminRequest,
    ContinueGeneration,
    ControlReply,
    PauseGeneration,
    ReleaseMemory,
    ResumeMemory,
    StartProfile,
    StopProfile,
    UpdateWeights,
)
from ..models.registry import CausalLM
from .grammar_queue import GrammarQueue
from .kv_cache import KVCache
from .planner import Queues
from .req import Req
from .served_model import Profile, ServedModel
from .stats import SchedulerStats


@dataclass(frozen=True, slots=True)
class RequestsInHand:
    """A scheduler's requests, and what it does with them at an operator's word.

    Attributes:
        queues, grammars, kv, stats: the scheduler's.
        settle: take in the step in flight.
        abort: end the requests that a message names.
        retract: send a running request back to the queue; no step may be in flight.
    """

    queues: Queues
    grammars: GrammarQueue
    kv: KVCache
    stats: SchedulerStats
    settle: Callable[[], None]
    abort: Callable[[AbortRequest], None]
    retract: Callable[[Req], None]

    @property
    def num_running(self) -> int:
        return len(self.queues.running)

    @property
    def num_held(self) -> int:
        """Those that are neither finished nor running."""
        return len(self.queues.waiting) + len(self.grammars)

    def abort_all(self) -> None:
        self.abort(AbortRequest(rid_prefix=""))

    def retract_all(self) -> None:
        for req in self.queues.running[::-1]:
            self.retract(req)

    def flush_cache(self) -> None:
        """Forget all cached KV; no request may be running."""
        self.settle()
        for req in self.queues.waiting:
            req.tier_load = None
        self.kv.reset()


@dataclass(slots=True)
class _Update:
    """New weights on their way."""

    request: UpdateWeights
    loading: Future[tuple[Checkpoint, CausalLM]]


class Admin:
    """Carries out an operator's requests, over several turns of the loop where that is needed.

    Args:
        requests: the scheduler's.
        served: the model; None where there is none to change.
    """

    def __init__(self, requests: RequestsInHand, served: ServedModel | None) -> None:
        self._requests = requests
        self._served = served
        self._paused = False
        self._released: set[str] = set()
        self._update: _Update | None = None
        self._profile: Profile | None = None
        self._profile_end = 0

    # ------------------------------------------------------------------ what the loop asks

    @property
    def holds(self) -> bool:
        """Whether no step may be planned."""
        return self._paused or bool(self._released)

    @property
    def num_paused(self) -> int:
        """Requests that wait for the operator to let steps be planned again."""
        return self._requests.num_running + self._requests.num_held if self.holds else 0

    @property
    def drains(self) -> bool:
        """Whether running requests go on but no others may start."""
        return self._update is not None and self._update.loading.done()

    @property
    def is_busy(self) -> bool:
        """Whether ``poll`` may soon have something to say."""
        return self._update is not None

    def poll(self) -> list[ControlReply]:
        """Go on with what takes several turns; what is finished is answered."""
        if self._profile is not None and 0 < self._profile_end <= self._requests.stats.steps:
            self._profile.stop()
            self._profile = None
        update = self._update
        if update is None or not update.loading.done():
            return []
        if error := update.loading.exception():
            if not isinstance(error, SGLangError | OSError):
                raise error
            return [self._updated(update, False, str(error))]
        if update.request.abort_all_requests:
            self._requests.abort_all()
        if self._requests.num_running and not self.holds:
            return []
        return [self._swap(update)]

    def flush_cache(self) -> tuple[bool, str]:
        """Forget all cached KV; waiting requests have none while none may start."""
        waits = self._requests.num_held and not (self.holds or self.drains)
        if self._requests.num_running or waits:
            return False, "requests are running: the cache can only be flushed when none is"
        self._requests.flush_cache()
        return True, ""

    def close(self) -> None:
        if self._served is not None:
            self._served.close()

    # ------------------------------------------------------------------ requests

    def take(self, request: AdminRequest) -> list[ControlReply]:
        """Begin with a request; answered here, or later by ``poll``."""
        ok, message = True, ""
        match request:
            case PauseGeneration():
                self._pause(request)
            case ContinueGeneration():
                self._paused = False
            case UpdateWeights():
                ok, message = self._begin_update(request)
                if ok:
                    return []
            case ReleaseMemory():
                ok, message = self._release(request)
            case ResumeMemory():
                ok, message = self._resume(request)
            case StartProfile():
                ok, message = self._start_profile(request)
            case StopProfile():
                ok, message = self._stop_profile()
        return [ControlReply(id=request.id, ok=ok, message=message)]

    def _pause(self, request: PauseGeneration) -> None:
        self._requests.settle()
        if request.mode == "abort":
            self._requests.abort_all()
        elif request.mode == "retract":
            self._requests.retract_all()
        self._paused = True

    def _begin_update(self, request: UpdateWeights) -> tuple[bool, str]:
        if self._served is None:
            return False, "this scheduler has no model to change"
        if self._update is not None:
            return False, "another update of the weights is under way"
        tier = self._requests.kv.tier
        if tier is not None and tier.store.persistent:
            return False, "the KV kept on disk is that of these weights: start without --cache-dir"
        if request.flush_cache and self._paused and self._requests.num_running:
            return False, "requests paused in place keep their KV: set flush_cache to false"
        self._update = _Update(request, self._served.load(request.model_path))
        return True, ""

    def _swap(self, update: _Update) -> ControlReply:
        assert self._served is not None
        self._requests.settle()
        self._served.swap(*update.loading.result())
        self._released.discard("weights")
        ok, message = True, ""
        if update.request.flush_cache:
            ok, message = self.flush_cache()
        return self._updated(update, ok, message)

    def _updated(self, update: _Update, ok: bool, message: str) -> ControlReply:
        self._update = None
        held = self._requests.num_running + self._requests.num_held if self._paused else 0
        data = {"num_paused_requests": held}
        return ControlReply(id=update.request.id, ok=ok, message=message, data=data)

    def _release(self, request: ReleaseMemory) -> tuple[bool, str]:
        if self._served is None:
            return False, "this scheduler has no memory to give back"
        if self._requests.num_running or self._requests.num_held or self._update is not None:
            return False, "requests are running: memory can only be released when none is"
        self._requests.settle()
        tags = [tag for tag in request.tags if tag not in self._released]
        if "kv_cache" in tags:
            self._requests.flush_cache()
        self._served.release(tags)
        self._released.update(tags)
        return True, ""

    def _resume(self, request: ResumeMemory) -> tuple[bool, str]:
        assert self._served is not None or not self._released
        tags = [tag for tag in request.tags if tag in self._released]
        if self._served is not None:
            try:
                self._served.resume(tags)
            except (SGLangError, OSError) as error:
                return False, str(error)
        self._released.difference_update(tags)
        return True, ""

    def _start_profile(self, request: StartProfile) -> tuple[bool, str]:
        if self._served is None:
            return False, "this scheduler has no model to profile"
        if self._profile is not None:
            return False, "a profile is being recorded: stop it first"
        self._requests.settle()
        try:
            self._profile = self._served.start_profile(request)
        except OSError as error:
            return False, f"{request.output_dir}: {error}"
        steps = request.num_steps or 0
        self._profile_end = self._requests.stats.steps + steps if steps else 0
        return True, str(self._profile.path)

    def _stop_profile(self) -> tuple[bool, str]:
        if self._profile is None:
            return False, "no profile is being recorded"
        self._requests.settle()
        profile, self._profile = self._profile, None
        try:
            return True, str(profile.stop())
        except OSError as error:
            return False, str(error)

"""What an operator asks of a running scheduler: pause, new weights, memory back, a profile."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..checkpoints.checkpoint import Checkpoint
from ..errors import SGLangError
from ..messages import (
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
from .served_model import Profile, ServedModel

if TYPE_CHECKING:
    from ..models.registry import CausalLM


class Operated(Protocol):
    """What a scheduler can do with its requests at an operator's word."""

    @property
    def num_running(self) -> int: ...

    @property
    def num_held(self) -> int:
        """Requests that are neither finished nor running."""
        ...

    @property
    def num_steps(self) -> int: ...

    def settle(self) -> None:
        """Take in the step in flight."""
        ...

    def abort_all(self) -> None: ...

    def retract_all(self) -> None: ...

    def flush_cache(self) -> tuple[bool, str]: ...


@dataclass(slots=True)
class _Update:
    """New weights on their way."""

    request: UpdateWeights
    loading: Future[tuple[Checkpoint, CausalLM]]


class Admin:
    """Carries out an operator's requests, over several turns of the loop where that is needed.

    Args:
        scheduler: the requests.
        served: the model; None where there is none to change.
        keeps_kv: whether KV outlives this process: then it must stay that of these weights.
    """

    def __init__(self, scheduler: Operated, served: ServedModel | None, keeps_kv: bool) -> None:
        self._scheduler = scheduler
        self._served = served
        self._keeps_kv = keeps_kv
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
    def drains(self) -> bool:
        """Whether running requests go on but no others may start."""
        return self._update is not None and self._update.loading.done()

    @property
    def is_busy(self) -> bool:
        """Whether ``poll`` may soon have something to say."""
        return self._update is not None

    def poll(self) -> list[ControlReply]:
        """Go on with what takes several turns; what is finished is answered."""
        if self._profile is not None and 0 < self._profile_end <= self._scheduler.num_steps:
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
            self._scheduler.abort_all()
        if self._scheduler.num_running and not self.holds:
            return []
        return [self._swap(update)]

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
        self._scheduler.settle()
        if request.mode == "abort":
            self._scheduler.abort_all()
        elif request.mode == "retract":
            self._scheduler.retract_all()
        self._paused = True

    def _begin_update(self, request: UpdateWeights) -> tuple[bool, str]:
        if self._served is None:
            return False, "this scheduler has no model to change"
        if self._update is not None:
            return False, "another update of the weights is under way"
        if self._keeps_kv:
            return False, "the KV kept on disk is that of these weights: start without --cache-dir"
        if request.flush_cache and self._paused and self._scheduler.num_running:
            return False, "requests paused in place keep their KV: set flush_cache to false"
        self._update = _Update(request, self._served.load(request.model_path))
        return True, ""

    def _swap(self, update: _Update) -> ControlReply:
        assert self._served is not None
        self._scheduler.settle()
        self._served.swap(*update.loading.result())
        self._released.discard("weights")
        ok, message = True, ""
        if update.request.flush_cache:
            ok, message = self._scheduler.flush_cache()
        return self._updated(update, ok, message)

    def _updated(self, update: _Update, ok: bool, message: str) -> ControlReply:
        self._update = None
        held = self._scheduler.num_running + self._scheduler.num_held if self._paused else 0
        data = {"num_paused_requests": held}
        return ControlReply(id=update.request.id, ok=ok, message=message, data=data)

    def _release(self, request: ReleaseMemory) -> tuple[bool, str]:
        if self._served is None:
            return False, "this scheduler has no memory to give back"
        if self._scheduler.num_running or self._scheduler.num_held or self._update is not None:
            return False, "requests are running: memory can only be released when none is"
        self._scheduler.settle()
        tags = [tag for tag in request.tags if tag not in self._released]
        if "kv_cache" in tags:
            self._scheduler.flush_cache()
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
        self._scheduler.settle()
        try:
            self._profile = self._served.start_profile(request)
        except OSError as error:
            return False, f"{request.output_dir}: {error}"
        steps = request.num_steps or 0
        self._profile_end = self._scheduler.num_steps + steps if steps else 0
        return True, str(self._profile.path)

    def _stop_profile(self) -> tuple[bool, str]:
        if self._profile is None:
            return False, "no profile is being recorded"
        self._scheduler.settle()
        profile, self._profile = self._profile, None
        try:
            return True, str(profile.stop())
        except OSError as error:
            return False, str(error)

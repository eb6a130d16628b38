"""The model of a scheduler, as an operator sees it: loaded anew, swapped, put away, profiled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from ..checkpoints.checkpoint import Checkpoint, open_checkpoint
from ..checkpoints.config import ModelConfig
from ..errors import ModelLoadError
from ..messages import MemoryTag, StartProfile
from ..model_executor.model_runner import ModelRunner
from ..models.registry import CausalLM

# What the KV cache, the sampler and the requests are laid out for.
SAME = ("family", "num_layers", "num_kv_heads", "head_dim", "hidden_size", "vocab_size", "windows")
MAX_PROFILE_STEPS = 10_000


class ServedModel:
    """Changes a runner's model. No step may be in flight, but for ``load``.

    Args:
        runner: runs the model.
        checkpoint: where its weights came from.
        load: reads a checkpoint's weights into a model.
    """

    def __init__(
        self, runner: ModelRunner, checkpoint: Checkpoint, load: Callable[[Checkpoint], CausalLM]
    ) -> None:
        self._runner = runner
        self._checkpoint = checkpoint
        self._load = load
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="weights")

    def load(self, model_path: str) -> Future[tuple[Checkpoint, CausalLM]]:
        """Read a folder of safetensors, in a thread; the future may hold a ModelLoadError."""
        return self._loader.submit(self._load_checked, model_path)

    def swap(self, checkpoint: Checkpoint, model: CausalLM) -> None:
        self._checkpoint, self._runner.model = checkpoint, model

    def release(self, tags: Sequence[MemoryTag]) -> None:
        if "weights" in tags:
            self._runner.model = None
        if "kv_cache" in tags:
            self._runner.kv_pool.release()

    def resume(self, tags: Sequence[MemoryTag]) -> None:
        """Raises ModelLoadError when the weights are no longer where they were."""
        if "weights" in tags:
            self._runner.model = self._load(self._checkpoint)
        if "kv_cache" in tags:
            self._runner.kv_pool.restore()

    def start_profile(self, wanted: StartProfile) -> Profile:
        """Record from now on; raises OSError where the folder cannot be written."""
        return Profile(self._runner, wanted)

    def close(self) -> None:
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _load_checked(self, model_path: str) -> tuple[Checkpoint, CausalLM]:
        checkpoint = open_checkpoint(model_path, "safetensors")
        _check_same(self._checkpoint.config, checkpoint.config)
        return checkpoint, self._load(checkpoint)


class Profile:
    """A recording by torch's profiler, on the thread that runs the model.

    Args:
        runner: whose steps are recorded.
        wanted: what, and the folder for the trace (Chrome's trace format, gzipped).
    """

    def __init__(self, runner: ModelRunner, wanted: StartProfile) -> None:
        folder = Path(wanted.output_dir).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        name = "-".join(filter(None, [wanted.prefix, f"{time.time():.3f}", "rank0"]))
        self.path = folder / f"{name}.trace.json.gz"
        self.num_steps = wanted.num_steps
        self._runner = runner
        self._profiler = torch.profiler.profile(
            with_stack=wanted.with_stack, record_shapes=wanted.record_shapes
        )
        runner.run_in_order(self._profiler.start).result()

    def stop(self) -> Path:
        """Write the trace; returns its path."""
        self._runner.run_in_order(self._profiler.stop).result()
        self._profiler.export_chrome_trace(str(self.path))
        return self.path


def _check_same(old: ModelConfig, new: ModelConfig) -> None:
    for name in SAME:
        if getattr(old, name) != getattr(new, name):
            raise ModelLoadError(
                f"the new weights are of a model with {name} {getattr(new, name)!r}, and this "
                f"server's has {getattr(old, name)!r}"
            )

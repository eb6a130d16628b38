"""A 16k prompt arrives among running streams: none of them waits for more than one chunk of it."""

from __future__ import annotations

import random

import pytest

from sglang_lang.runtime.model_executor.model_runner import LaunchedStep
from sglang_lang.runtime.model_executor.step import StepInput
from sglang_lang.runtime.scheduler.scheduler import Runner

from .toy import EOS, Toy, ToyScheduler, continuation, request

LONG = 16_384
CHUNK = 512
STEPS = LONG // CHUNK


class Recorder:
    """Notes the tokens of each step on their way to the runner."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.extend_lens: list[list[int]] = []

    def launch(self, step: StepInput) -> LaunchedStep:
        self.extend_lens.append(step.extend_lens.tolist())
        return self._runner.launch(step)

    def close(self) -> None:
        self._runner.close()


def long_prompt() -> list[int]:
    rng = random.Random(3)
    return [rng.randrange(256) for _ in range(LONG)]


def build(page_size: int, overlap: bool) -> tuple[ToyScheduler, Recorder]:
    toy = Toy(
        slots=2 * LONG, chunk=CHUNK, context_len=LONG + 64, page_size=page_size, overlap=overlap
    )
    scheduler = toy.build()
    recorder = Recorder(scheduler.scheduler.runner)
    scheduler.scheduler.runner = recorder
    return scheduler, recorder


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("page_size", [1, 16])
def test_every_stream_gains_a_token_in_every_step(page_size: int, overlap: bool) -> None:
    scheduler, recorder = build(page_size, overlap)
    for i in range(5):
        scheduler.send(request(f"s{i}", [i], 200, stream=True))
    for _ in range(4):
        scheduler.step()
    scheduler.send(request("long", long_prompt(), 2))
    started = len(recorder.extend_lens)
    for _ in range(STEPS):
        before = [len(scheduler.outcomes[f"s{i}"].ids) for i in range(5)]
        scheduler.step()
        assert [len(scheduler.outcomes[f"s{i}"].ids) for i in range(5)] == [n + 1 for n in before]
    assert recorder.extend_lens[started:] == [[1, 1, 1, 1, 1, CHUNK]] * STEPS
    scheduler.run()
    assert scheduler.outcomes["long"].ids == continuation(long_prompt(), 2)


def test_a_stream_whose_text_is_forced_does_not_wait_either() -> None:
    scheduler, _ = build(1, True)
    scheduler.send(request("forced", [1], 400, stream=True, regex=r"(id: [0-9], name: )+"))
    while not scheduler.outcomes["forced"].ids:
        scheduler.step()
    scheduler.send(request("long", long_prompt(), 2))
    scheduler.step()
    for _ in range(STEPS):
        before = len(scheduler.outcomes["forced"].ids)
        scheduler.step()
        assert len(scheduler.outcomes["forced"].ids) > before
    assert EOS not in scheduler.outcomes["forced"].ids
    scheduler.run()

"""The rules by which select decides, and rules that users write."""

from __future__ import annotations

from typing import Any

import pytest

import sglang_lang as sgl
from sglang_lang.choices import ChoiceScores, ChoicesSamplingMethod, decide

from .scripted import ScriptedBackend

SHORT = ChoiceScores([1], [-1.0], [-1.5])
LONG = ChoiceScores([2, 3], [-0.5, -1.2], [None, -0.4])


@pytest.mark.parametrize(
    ("method", "decision"),
    [
        (sgl.token_length_normalized, "long"),
        (sgl.greedy_token_selection, "long"),
        (sgl.unconditional_likelihood_normalized, "short"),
    ],
)
def test_methods_decide(method: ChoicesSamplingMethod, decision: str) -> None:
    assert decide(method, ["short", "long"], [SHORT, LONG]).decision == decision


def test_greedy_looks_at_one_token_after_the_other() -> None:
    scores = [ChoiceScores([1, 2], [-1.0, -0.1]), ChoiceScores([3, 4], [-0.9, -9.0])]
    decided = decide(sgl.greedy_token_selection, ["good mean", "good start"], scores)
    assert decided.decision == "good start"
    assert decided.meta_info["greedy_logprob_matrix"] == [[-1.0, -0.1], [-0.9, -9.0]]


def test_unconditional_gains_count_a_first_token_without_logprob_as_zero() -> None:
    meta = decide(sgl.unconditional_likelihood_normalized, ["a", "b"], [SHORT, LONG]).meta_info
    assert meta["normalized_unconditional_prompt_logprobs"] == pytest.approx([0.5, -0.65])
    assert meta["unconditional_token_logprobs"][1] == [(None, 2, None), (-0.4, 3, None)]


class Unlikeliest(sgl.ChoicesSamplingMethod):
    """As programs for SGLang write their own."""

    def __call__(
        self,
        *,
        choices: Any,
        normalized_prompt_logprobs: Any,
        input_token_logprobs: Any,
        output_token_logprobs: Any,
        unconditional_token_logprobs: Any = None,
    ) -> sgl.ChoicesDecision:
        assert unconditional_token_logprobs is None
        assert input_token_logprobs[0][0][1:] == (1, None)
        assert output_token_logprobs == [[], []]
        worst = min(range(len(choices)), key=lambda i: normalized_prompt_logprobs[i])
        return sgl.ChoicesDecision(choices[worst], {"rule": "worst"})


def test_a_method_of_the_users_own_decides() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.select("x", ["red", "blue"], choices_method=Unlikeliest())

    state = program.run(backend=ScriptedBackend(lambda prompt: "red"))
    assert state["x"] == "blue"
    assert state.get_meta_info("x")["rule"] == "worst"
    assert state.get_meta_info("x")["normalized_prompt_logprobs"] == [0.0, -1.0]

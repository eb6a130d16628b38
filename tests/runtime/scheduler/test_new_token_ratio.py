from __future__ import annotations

from sglang_lang.runtime.scheduler.new_token_ratio import NewTokenRatio

from .toy import waiting


def test_the_expected_output_shrinks_with_time_and_grows_after_a_retraction() -> None:
    ratio = NewTokenRatio(1.0)
    start = ratio.value
    for _ in range(NewTokenRatio.DECAY_STEPS * 2):
        ratio.decay()
    assert 0 < ratio.value < start / 5
    low = ratio.value
    ratio.after_retraction(waiting([1, 2, 3]))
    assert low < ratio.value <= 1.0

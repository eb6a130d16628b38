"""Every server gets the same bytes for a seed, and other ones for another seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import workloads


@pytest.mark.parametrize(
    "make",
    [workloads.single, workloads.batch, workloads.prefix, workloads.chat, workloads.people],
)
def test_prompts_depend_on_the_seed_only(make: Callable[[int], Any]) -> None:
    assert make(1) == make(1)
    assert make(1) != make(2)


def test_prefix_requests_share_their_beginning_and_differ_after() -> None:
    prompts = workloads.prefix(0).prompts
    assert len({prompt.split(" Q: ")[0] for prompt in prompts}) == 1
    assert len(set(prompts)) == len(prompts)

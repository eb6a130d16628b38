from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.runtime.scheduler.stop_checker import StopChecker

PIECES = [b"a", b"b", b"ab", b"ba", b"aab", b"\xc3", b"\xa9", b"\xc3\xa9b", b""]


@given(
    st.lists(st.integers(0, len(PIECES) - 1), max_size=40),
    st.lists(st.text("ab\u00e9", min_size=1, max_size=4), min_size=1, max_size=3, unique=True),
)
def test_reports_a_stop_at_the_first_token_that_completes_one(
    token_ids: list[int], stops: list[str]
) -> None:
    checker = StopChecker(stops, [], PIECES.__getitem__)
    text = b""
    for token_id in token_ids:
        text += PIECES[token_id]
        matched = checker.feed(token_id)
        present = [stop for stop in stops if stop.encode() in text]
        assert (matched is not None) == bool(present)
        if matched is not None:
            first = min(text.index(stop.encode()) for stop in present)
            assert text.index(matched.encode()) == first
            return


@given(
    st.lists(st.integers(0, len(PIECES) - 1), max_size=30),
    st.integers(0, 30),
    st.text("ab", min_size=1, max_size=4),
)
def test_rewinding_equals_having_fed_only_the_kept_tokens(
    token_ids: list[int], kept: int, stop: str
) -> None:
    kept_ids = token_ids[:kept]
    fresh = StopChecker([stop], [], PIECES.__getitem__)
    if any(fresh.feed(token_id) for token_id in kept_ids):
        return
    rewound = StopChecker([stop], [], PIECES.__getitem__)
    for token_id in token_ids:
        if rewound.feed(token_id):
            break
    rewound.rewind(kept_ids)
    for token_id in (0, 1, 2, 3, 4):
        assert rewound.feed(token_id) == fresh.feed(token_id)
        if stop.encode() in b"".join(PIECES[t] for t in kept_ids) + b"abab":
            break


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=30))
def test_a_pattern_stops_at_the_first_token_after_which_it_matches(token_ids: list[int]) -> None:
    pattern = "ab{2,3}a"
    checker = StopChecker([], [pattern], PIECES.__getitem__)
    text = b""
    for token_id in token_ids:
        if PIECES[token_id] in (b"\xc3", b"\xa9"):
            continue  # half a character ends every search
        text += PIECES[token_id]
        matched = checker.feed(token_id)
        assert (matched == pattern) == (re.search(pattern, text.decode()) is not None)
        if matched:
            return

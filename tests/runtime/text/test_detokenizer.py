"""The pieces of a stream joined are the text; nothing is shown that must be taken back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.runtime.messages import FinishReason
from sglang_lang.runtime.text.detokenizer import IncrementalDetokenizer

LENGTH = FinishReason("length")
PIECES = [bytes([byte]) for byte in range(256)]


def stream(data: bytes, stops: list[str], finish: FinishReason, keep: bool = False) -> list[str]:
    detokenizer = IncrementalDetokenizer(PIECES.__getitem__, stops, keep)
    pieces = [detokenizer.add([byte], 0, None) for byte in data[:-1]]
    pieces.append(detokenizer.add(list(data[-1:]), 0, finish))
    assert detokenizer.text == "".join(pieces)
    return pieces


@given(st.text(min_size=1, max_size=30))
def test_byte_tokens_join_to_the_text_and_no_piece_is_half_a_character(text: str) -> None:
    pieces = stream(text.encode(), [], LENGTH)
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces).replace("\ufffd", "", text.count("\ufffd"))


@given(st.binary(min_size=1, max_size=20))
def test_bytes_that_are_no_text_become_replacement_characters(data: bytes) -> None:
    assert "".join(stream(data, [], LENGTH)).replace("\ufffd", "") == data.decode(
        "utf-8", "replace"
    ).replace("\ufffd", "")


@given(st.text("ab.", max_size=20), st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3))
def test_no_part_of_a_stop_string_is_shown(text: str, stops: list[str]) -> None:
    ends = [text.index(stop) + len(stop) for stop in stops if stop in text]
    if not ends:
        assert "".join(stream((text + "!").encode(), stops, LENGTH)) == text + "!"
        return
    cut = text[: min(ends)]  # the scheduler stops at the first token that completes one
    matched = [stop for stop in stops if stop in cut]
    first = min(matched, key=cut.index)
    finish = FinishReason("stop", matched=first)
    assert "".join(stream(cut.encode(), stops, finish)) == cut[: cut.index(first)]
    kept = "".join(stream(cut.encode(), stops, finish, keep=True))
    assert kept == cut[: cut.index(first) + len(first)]


def test_a_matched_stop_token_is_cut_unless_asked_for() -> None:
    finish = FinishReason("stop", matched=ord("c"))
    assert "".join(stream(b"abc", [], finish)) == "ab"
    assert "".join(stream(b"abc", [], finish, keep=True)) == "abc"


def test_retokenised_text_goes_on_where_it_was() -> None:
    pieces = [b"he", b"l", b"hello", b" there"]
    detokenizer = IncrementalDetokenizer(pieces.__getitem__, [], False)
    assert detokenizer.add([0, 1], 0, None) == "hel"
    assert detokenizer.add([2], 2, None) == "lo"
    assert detokenizer.add([], 1, None) == ""
    assert detokenizer.add([2, 3], 0, LENGTH) == " there"
    assert detokenizer.text == "hello there"


def test_spans_of_tokens_are_in_characters_and_neighbours_join() -> None:
    detokenizer = IncrementalDetokenizer(PIECES.__getitem__, ["!"], False)
    detokenizer.add(list("aé€b!".encode()), 0, FinishReason("stop", matched="!"))
    assert detokenizer.text == "aé€b"
    assert detokenizer.char_spans(set()) == []
    assert detokenizer.char_spans({0}) == [(0, 1)]
    assert detokenizer.char_spans({1, 2}) == [(1, 2)]  # both bytes of é
    assert detokenizer.char_spans({2, 6}) == [(3, 4)]  # a byte inside é, and b
    assert detokenizer.char_spans({0, 1, 6, 7}) == [(0, 2), (3, 4)]  # the stop is not in the text

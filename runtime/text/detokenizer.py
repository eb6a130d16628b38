"""Token ids to text as they arrive: never half a character, never part of a stop string.

Works on the tokens' bytes, so the pieces joined are exactly the text of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..messages import FinishReason


class IncrementalDetokenizer:
    """The text of one request's output.

    Args:
        token_bytes: bytes that a token adds to the text (b"" for a skipped special token).
        stops: stop strings; text that may become one is held back.
        keep_stop: leave the matched stop string, or stop token, in the text.
    """

    def __init__(
        self, token_bytes: Callable[[int], bytes], stops: Sequence[str], keep_stop: bool
    ) -> None:
        self._token_bytes = token_bytes
        self._stops = [stop.encode() for stop in stops]
        self._keep_stop = keep_stop
        self._pieces: list[bytes] = []
        self._data = bytearray()
        self._told = 0  # bytes of data whose text has been returned
        self.text = ""

    def add(self, token_ids: Sequence[int], replaced: int, finish: FinishReason | None) -> str:
        """Take the next tokens; return the text that can be shown because of them.

        Args:
            token_ids: new output tokens.
            replaced: tokens at the end so far that they stand in for.
            finish: set with the last tokens; everything held back is then decided.
        """
        for _ in range(replaced):
            del self._data[len(self._data) - len(self._pieces.pop()) :]
        for token_id in token_ids:
            piece = self._token_bytes(token_id)
            self._pieces.append(piece)
            self._data += piece
        end = self._showable() if finish is None else self._end(finish)
        if end <= self._told:
            return ""
        delta = self._data[self._told : end].decode("utf-8", "replace")
        self._told = end
        self.text += delta
        return delta

    def char_spans(self, places: set[int]) -> list[tuple[int, int]]:
        """Where these tokens stand in the text, in characters; neighbours are one span."""
        spans: list[tuple[int, int]] = []
        end = 0
        for place, piece in enumerate(self._pieces):
            start = end
            end += sum(byte & 0xC0 != 0x80 for byte in piece)  # bytes that begin a character
            if place not in places or start == min(end, len(self.text)):
                continue
            if spans and spans[-1][1] == start:
                start = spans.pop()[0]
            spans.append((start, min(end, len(self.text))))
        return spans

    def _showable(self) -> int:
        """Bytes that no later token can change the meaning of."""
        data = self._data
        end = len(data)
        if self._stops:
            end -= max(_held_back(data, stop) for stop in self._stops)
        return _whole_characters(data, end)

    def _end(self, finish: FinishReason) -> int:
        matched = finish.matched
        if matched is None or finish.type != "stop":
            return _whole_characters(self._data, len(self._data))
        if isinstance(matched, int):
            return len(self._data) - (0 if self._keep_stop else len(self._pieces[-1]))
        stop = matched.encode()
        start = self._data.find(stop, max(0, self._told - len(stop)))
        if start < 0:
            return len(self._data)
        return start + len(stop) if self._keep_stop else start


def _held_back(data: bytearray, stop: bytes) -> int:
    """Length of the longest end of ``data`` that is a beginning of ``stop``."""
    for length in range(min(len(stop) - 1, len(data)), 0, -1):
        if data.endswith(stop[:length]):
            return length
    return 0


def _whole_characters(data: bytearray, end: int) -> int:
    """``end`` moved back to before a UTF-8 character that is not complete yet."""
    for back in range(1, min(4, end) + 1):
        byte = data[end - back]
        if byte < 0x80:
            return end
        if byte >= 0xC0:  # the first byte says how many belong together
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return end - back if length > back else end
    return end

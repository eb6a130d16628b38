"""The typed events of a streamed response, made of the pieces of an answer."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from typing import Any

from ...text.pieces import CallArguments, CallStart, Content, Piece, Reasoning
from .response_items import (
    Item,
    call_item,
    message_item,
    reasoning_item,
    reasoning_part,
    text_part,
)
from .stored_response import Status, StoredResponse

Event = dict[str, Any]


class ResponseEvents:
    """Writes a response's output, and tells of every change in OpenAI's events.

    Args:
        response: whose output grows.
    """

    def __init__(self, response: StoredResponse) -> None:
        self._response = response
        self._sequence = 0
        self._item: Item | None = None  # the open one, last of the output
        self._part: Item | None = None  # its open text

    def open(self) -> Iterator[Event]:
        yield self._whole("response.created")
        yield self._whole("response.in_progress")

    def piece(self, piece: Piece) -> Iterator[Event]:
        match piece:
            case Reasoning(text):
                yield from self._open_text("reasoning")
                yield self._text_delta("response.reasoning_text.delta", text)
            case Content(text):
                yield from self._open_text("message")
                yield self._text_delta("response.output_text.delta", text) | {"logprobs": []}
            case CallStart(_, call_id, name):
                yield from self._open(call_item(_new_id("fc"), call_id, name))
            case CallArguments(_, text):
                assert self._item is not None
                self._item["arguments"] += text
                yield self._of_item("response.function_call_arguments.delta", delta=text)

    def close(self, status: Status, logprobs: list[Any] | None = None) -> Iterator[Event]:
        """End the open item, and the response.

        Args:
            status: of the response.
            logprobs: of its tokens, for the text that ends now.
        """
        if not self._response.output:
            yield from self._open_text("message")  # an empty answer is an answer
        if logprobs is not None and self._part is not None and "logprobs" in self._part:
            self._part["logprobs"] = logprobs
        yield from self._close_item("incomplete" if status == "incomplete" else "completed")
        self._response.status = status
        yield self._whole(f"response.{status}")

    def fail(self, error: dict[str, Any]) -> Iterator[Event]:
        """The response ends with an error."""
        self._response.status, self._response.error = "failed", error
        yield self._whole("response.failed")

    # ------------------------------------------------------------------ items

    def _open_text(self, kind: str) -> Iterator[Event]:
        """Make sure that the open item is of this kind."""
        if self._item is not None and self._item["type"] == kind:
            return
        if kind == "message":
            item, self_part = message_item(_new_id("msg")), text_part()
        else:
            item, self_part = reasoning_item(_new_id("rs")), reasoning_part()
        yield from self._open(item)
        self._part = self_part
        item["content"].append(self_part)
        yield self._of_part("response.content_part.added", part=copy.deepcopy(self_part))

    def _open(self, item: Item) -> Iterator[Event]:
        yield from self._close_item("completed")
        self._item = item
        self._response.output.append(item)
        yield self._event(
            "response.output_item.added",
            output_index=self._output_index,
            item=copy.deepcopy(item),
        )

    def _close_item(self, status: str) -> Iterator[Event]:
        item, part = self._item, self._part
        if item is None:
            return
        if part is not None:
            kind = part["type"]
            yield self._of_part(f"response.{kind}.done", text=part["text"]) | (
                {"logprobs": part["logprobs"]} if kind == "output_text" else {}
            )
            yield self._of_part("response.content_part.done", part=part)
        else:
            yield self._of_item(
                "response.function_call_arguments.done",
                name=item["name"],
                arguments=item["arguments"],
            )
        item["status"] = status
        yield self._event(
            "response.output_item.done", output_index=self._output_index, item=copy.deepcopy(item)
        )
        self._item = self._part = None

    def _text_delta(self, kind: str, text: str) -> Event:
        assert self._part is not None
        self._part["text"] += text
        return self._of_part(kind, delta=text)

    # ------------------------------------------------------------------ events

    @property
    def _output_index(self) -> int:
        return len(self._response.output) - 1

    def _of_part(self, kind: str, **fields: Any) -> Event:
        return self._of_item(kind, content_index=0, **fields)

    def _of_item(self, kind: str, **fields: Any) -> Event:
        assert self._item is not None
        return self._event(
            kind, item_id=self._item["id"], output_index=self._output_index, **fields
        )

    def _whole(self, kind: str) -> Event:
        return self._event(kind, response=self._response.as_dict())

    def _event(self, kind: str, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"

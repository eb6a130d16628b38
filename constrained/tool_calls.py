"""Tool calls as a model writes them: JSON objects, each in a frame of literal text.

The value of the constraint is JSON ``{"opening", "begin", "end", "separator", "closing", "calls",
"min", "max"}``. Its language is ``opening``, then between ``min`` and ``max`` times ``begin``, one
object that satisfies one of the schemas in ``calls``, ``end``, joined by ``separator``, then
``closing``. Each schema is a document of its own, in which its ``$ref`` are looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .errors import GrammarError, UnsupportedGrammarError
from .network import END, Edge, Network, State, Target
from .regex_tree import Literal, literal

MAX_CALL_SCHEMAS = 1024
MAX_CALLS = 1024
MAX_ALIKE = 32  # calls that begin with the same text are alternatives that a machine must carry
MAX_LEADING_BYTES = 4096
FRAME_TEXTS = ("opening", "begin", "end", "separator", "closing")


@dataclass(slots=True, frozen=True)
class ToolCalls:
    """A parsed constraint; see the module. ``max_calls`` None is without end."""

    opening: str
    begin: str
    end: str
    separator: str
    closing: str
    schemas: tuple[dict[str, Any], ...]
    min_calls: int
    max_calls: int | None


def parse_tool_calls(value: Any) -> ToolCalls:
    """Reads the constraint from parsed JSON.

    Raises:
        GrammarError: a field is missing, unknown, or of a wrong type.
    """
    if not isinstance(value, dict):
        raise GrammarError("tool_calls must be a JSON object")
    unknown = value.keys() - {*FRAME_TEXTS, "calls", "min", "max"}
    if unknown:
        raise GrammarError(f"tool_calls: unknown field {min(unknown)!r}")
    for name in FRAME_TEXTS:
        if not isinstance(value.get(name), str):
            raise GrammarError(f"tool_calls: {name} must be a string, got {value.get(name)!r}")
    calls = value.get("calls")
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise GrammarError("tool_calls: calls must be a list of JSON Schema objects")
    if not 0 < len(calls) <= MAX_CALL_SCHEMAS:
        raise GrammarError(f"tool_calls takes 1 to {MAX_CALL_SCHEMAS} calls, got {len(calls)}")
    least, most = _bounds(value.get("min"), value.get("max"))
    texts = {name: value[name] for name in FRAME_TEXTS}
    return ToolCalls(**texts, schemas=tuple(calls), min_calls=least, max_calls=most)


def _bounds(least: Any, most: Any) -> tuple[int, int | None]:
    if type(least) is not int or not 0 <= least <= MAX_CALLS:
        raise GrammarError(f"tool_calls: min must be an integer in [0, {MAX_CALLS}], got {least!r}")
    if most is not None and (type(most) is not int or not max(least, 1) <= most <= MAX_CALLS):
        raise GrammarError(
            f"tool_calls: max must be null or an integer in [max(min, 1), {MAX_CALLS}], "
            f"got {most!r}"
        )
    return least, most


@dataclass(slots=True, frozen=True)
class CallState:
    """A state of the network of call schema ``index``."""

    index: int
    state: State


@dataclass(slots=True, frozen=True)
class AfterCalls:
    """``count`` calls are written; it stops counting where more would make no difference."""

    count: int


class LeadingText(NamedTuple):
    """The bytes every call of one schema begins with, and the state after them."""

    text: bytes
    state: CallState | None  # None where the text is the whole call


class ToolCallsNetwork:
    """The recursive transition network of framed calls; a ``Network``.

    What a call begins with whatever its arguments (``{"name": "get_weather"``) is part of the
    frame's literals, so any number of tools is told apart by one trie.

    Args:
        spec: the frame.
        network_of: the network of one call's schema.

    Raises:
        UnsupportedGrammarError: too many calls begin alike, or the empty text is a list of calls.
    """

    start = AfterCalls(0)

    def __init__(self, spec: ToolCalls, network_of: Callable[[dict[str, Any]], Network]) -> None:
        self._spec = spec
        self._networks = [network_of(schema) for schema in spec.schemas]
        self._counted = max(spec.min_calls, spec.max_calls or 1)
        self._leading: dict[bytes, list[LeadingText]] = {}
        for index in range(len(self._networks)):
            leading = self._leading_text(index)
            self._leading.setdefault(leading.text, []).append(leading)
        if max(map(len, self._leading.values())) > MAX_ALIKE:
            raise UnsupportedGrammarError(
                f"tool_calls: more than {MAX_ALIKE} calls begin with the same text; put the name, "
                "a const, first"
            )
        before = (spec.opening + spec.begin, spec.end + spec.separator + spec.begin)
        if (b"" in self._leading and "" in before) or self._may_be_empty:
            raise UnsupportedGrammarError("tool_calls: the frame needs some text")

    @property
    def _may_be_empty(self) -> bool:
        return self._spec.min_calls == 0 and not self._spec.opening + self._spec.closing

    def edges(self, state: State) -> tuple[Edge, ...]:
        if isinstance(state, CallState):
            inner = self._networks[state.index].edges(state.state)
            return tuple(_of_call(state.index, edge) for edge in inner)
        spec = self._spec
        assert isinstance(state, AfterCalls)
        count = state.count
        ways: dict[bytes, tuple[Target, ...]] = {}
        if spec.max_calls is None or count < spec.max_calls:
            before = spec.end + spec.separator if count else spec.opening
            ways = self._next_calls(before + spec.begin, AfterCalls(min(count + 1, self._counted)))
        closing = ((spec.end if count else spec.opening) + spec.closing).encode()
        if count >= spec.min_calls and closing:
            ways[closing] = ways.get(closing, ()) + END
        return tuple(Edge(literal(text), targets) for text, targets in ways.items())

    def with_captured(self, state: State, text: str) -> State:
        assert isinstance(state, CallState)
        network = self._networks[state.index]
        return CallState(state.index, network.with_captured(state.state, text))

    def _next_calls(self, before: str, after: AfterCalls) -> dict[bytes, tuple[Target, ...]]:
        """The texts that lead into each of the calls, and where they lead."""
        return {
            before.encode() + text: tuple(
                target for call in alike for target in self._targets(call.state, after)
            )
            for text, alike in self._leading.items()
        }

    def _targets(self, call: CallState | None, after: AfterCalls) -> list[Target]:
        """Into the rest of a call; without a text behind the last one, the frame ends with it."""
        spec = self._spec
        going_on = Target(after) if call is None else Target(after, call)
        if spec.end + spec.closing or after.count < spec.min_calls:
            return [going_on]
        is_last = spec.max_calls is not None and after.count >= spec.max_calls
        return [Target(call)] if is_last else [Target(call), going_on]

    def _leading_text(self, index: int) -> LeadingText:
        """Follows the network while there is one way on, and remembers the last place outside
        all nested values: a frame can only be entered there.
        """
        network = self._networks[index]
        state: State | None = network.start
        text = b""
        waiting: list[State | None] = []
        best = LeadingText(b"", CallState(index, network.start))
        while state is not None and len(text) < MAX_LEADING_BYTES:
            edges = network.edges(state)
            if len(edges) != 1 or len(edges[0].targets) != 1 or edges[0].capture is not None:
                break
            lexeme, target = edges[0].lexeme, edges[0].targets[0]
            if not isinstance(lexeme, Literal):
                break
            text += lexeme.text
            if target.nested is not None:
                waiting.append(target.state)
                state = target.nested
            else:
                state = target.state
                while state is None and waiting:
                    state = waiting.pop()
            if not waiting:
                best = LeadingText(text, None if state is None else CallState(index, state))
        return best


def _of_call(index: int, edge: Edge) -> Edge:
    def own(state: State | None) -> State | None:
        return None if state is None else CallState(index, state)

    targets = tuple(Target(own(target.state), own(target.nested)) for target in edge.targets)
    return Edge(edge.lexeme, targets, edge.capture)

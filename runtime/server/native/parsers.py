"""What a model wrote, taken apart: tool calls and reasoning in a text that is already there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ...sampling_params import SamplingParams
from ...text.answer import Answer
from ...text.dialect import Conversation, Dialect
from ...text.reasoning.reasoning_format import REASONING_FORMATS
from ...text.tool_calls.call_format import FORMATS
from ...text.tool_calls.tools import tool_of, tool_use
from ..bodies import read
from ..context import context_of
from ..routing import Routes
from ..streaming import json_response

router = Routes()
F = TypeVar("F")
# Names that SGLang's users know for the formats here.
CALL_ALIASES = {"qwen": "hermes", "qwen25": "hermes", "deepseekv3": "deepseek"}
REASONING_ALIASES = {"qwen3-thinking": "deepseek-r1", "deepseek-v3": "qwen3"}


class ToolBody(msgspec.Struct):
    function: dict[str, Any]


class FunctionCallBody(msgspec.Struct):
    text: str
    tools: list[ToolBody]
    tool_call_parser: str | None = None


class ReasoningBody(msgspec.Struct):
    text: str
    reasoning_parser: str | None = None


@router.post("/parse_function_call", body=FunctionCallBody)
async def parse_function_call(request: Request) -> Response:
    """The calls in a text, and the text around them."""
    body = await read(request, FunctionCallBody)
    dialect = replace(context_of(request).dialect, reasoning=None)
    if body.tool_call_parser is not None:
        name = CALL_ALIASES.get(body.tool_call_parser, body.tool_call_parser)
        dialect = replace(dialect, call_format=_known(FORMATS, name, "tool_call_parser"))
    tools = [tool_of(tool.function, f"tools[{i}].function") for i, tool in enumerate(body.tools)]
    answer = _parsed(dialect, Conversation((), tool_use(tools, None)), body.text)
    calls = [
        {"tool_index": i, "name": call.name, "parameters": call.arguments}
        for i, call in enumerate(answer.calls)
    ]
    return json_response({"normal_text": answer.content, "calls": calls})


@router.post("/separate_reasoning", body=ReasoningBody)
async def separate_reasoning(request: Request) -> Response:
    """The reasoning in a text, and the answer behind it."""
    body = await read(request, ReasoningBody)
    dialect = context_of(request).dialect
    if body.reasoning_parser is not None:
        name = REASONING_ALIASES.get(body.reasoning_parser, body.reasoning_parser)
        dialect = replace(dialect, reasoning=_known(REASONING_FORMATS, name, "reasoning_parser"))
    if dialect.reasoning is None:
        raise RequestError("this model does not reason: name the format", param="reasoning_parser")
    answer = _parsed(dialect, Conversation(()), body.text)
    return json_response({"reasoning_text": answer.reasoning, "text": answer.content})


def _parsed(dialect: Dialect, conversation: Conversation, text: str) -> Answer:
    parser, answer = dialect.parser(conversation, "", SamplingParams()), Answer()
    answer.add(parser.feed(text))
    answer.add(parser.finish())
    return answer


def _known(formats: dict[str, F], name: str, param: str) -> F:
    found = formats.get(name)
    if found is None:
        raise RequestError(
            f"{param} must be one of {', '.join(sorted(formats))}, got {name!r}", param=param
        )
    return found

"""How the served model speaks: which prompt a conversation becomes, and how its answer is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import RequestError
from ..sampling_params import SamplingParams
from ..server_args import ServerArgs
from .answer import AnswerParser
from .chat import render_chat
from .pieces import PieceParser
from .reasoning.reasoning_format import REASONING_FORMATS, ReasoningFormat, guess_reasoning
from .tokenizer import Tokenizer
from .tool_calls.call_format import FORMATS, JSON_LIST, CallFormat, guess_format
from .tool_calls.constraint import answer_or_calls, forced_calls, strict_calls
from .tool_calls.framed_calls import FramedCallParser
from .tool_calls.pythonic_calls import PythonicCallParser
from .tool_calls.tools import ToolUse


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat request, whatever protocol it came by.

    Attributes:
        messages: as OpenAI's API has them.
        tool_use: tools, and how many calls the answer may have.
        template_kwargs: further names for the chat template.
        continues_final_message: the answer goes on with the last message.
        add_generation_prompt: None is the ordinary way: unless the last message is continued.
        separates_reasoning: tell the reasoning apart from the content.
        streams_reasoning: tell it as it comes.
        prompt_ids: token ids to continue instead of the messages rendered.
    """

    messages: Sequence[Mapping[str, Any]]
    tool_use: ToolUse = ToolUse()
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    continues_final_message: bool = False
    add_generation_prompt: bool | None = None
    separates_reasoning: bool = True
    streams_reasoning: bool = True
    prompt_ids: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A conversation made ready: the prompt, how to sample, and how to read the answer."""

    prompt: str  # its BOS included
    sampling_params: SamplingParams
    warnings: list[str]
    _dialect: Dialect
    _conversation: Conversation

    @property
    def reasoning_end(self) -> str | None:
        """Text that ends the reasoning of this model's answers."""
        reasoning = self._dialect.reasoning
        return None if reasoning is None else reasoning.end

    def parser(self) -> AnswerParser:
        """A new parser; each of n samples needs its own."""
        return self._dialect.parser(self._conversation, self.prompt, self.sampling_params)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a model writes reasoning and tool calls.

    Attributes:
        tokenizer: has the chat template.
        call_format: of tool calls.
        reasoning: None for a model that does not reason.
    """

    tokenizer: Tokenizer
    call_format: CallFormat
    reasoning: ReasoningFormat | None

    @classmethod
    def of(cls, tokenizer: Tokenizer, args: ServerArgs) -> Dialect:
        """What the arguments say; where they say "auto", what the chat template shows."""
        template = tokenizer.chat_template
        calls = FORMATS.get(args.tool_call_parser) or guess_format(template)
        if args.reasoning_parser == "auto":
            return cls(tokenizer, calls, guess_reasoning(template))
        return cls(tokenizer, calls, REASONING_FORMATS.get(args.reasoning_parser))

    def prompt(self, conversation: Conversation) -> str:
        """The conversation as the model reads it, its BOS included."""
        if conversation.prompt_ids is not None:
            return self.tokenizer.decode(list(conversation.prompt_ids), False)
        return render_chat(
            self.tokenizer,
            conversation.messages,
            [tool.definition() for tool in conversation.tool_use.tools] or None,
            not conversation.continues_final_message
            if conversation.add_generation_prompt is None
            else conversation.add_generation_prompt,
            conversation.continues_final_message,
            conversation.template_kwargs,
        )

    def turn(self, conversation: Conversation, params: SamplingParams) -> Turn:
        """Render the prompt, and constrain the answer as the tools ask.

        Args:
            conversation: what to answer.
            params: its constraint, if any, is that of the content.

        Raises:
            RequestError: the template refuses the messages, or a constraint and tools collide.
        """
        use = conversation.tool_use
        prompt = self.prompt(conversation)
        changes, warnings = self._tool_constraint(use, params)
        constrained = bool(changes) or params.constraint is not None
        if self.reasoning is not None and constrained and self.reasoning.is_on(prompt):
            changes["reasoning_end"] = self.reasoning.end
        if not use.is_off or self.reasoning is not None:
            changes["skip_special_tokens"] = False  # the marks may be special tokens
        if use.most == 1 and not use.is_forced and self.call_format.leave is not None:
            changes["stop"] = [*params.stop, self.call_format.leave]
        return Turn(prompt, params.with_changes(**changes), warnings, self, conversation)

    def parser(
        self, conversation: Conversation, prompt: str, params: SamplingParams
    ) -> AnswerParser:
        """A parser of an answer to this prompt."""
        use = conversation.tool_use
        # An answer that is held to calls, or to calls or a schema, has them in the format's frame.
        is_framed = use.is_forced or params.ebnf is not None
        reasoning: PieceParser | None = None
        finds_calls = False
        if self.reasoning is not None:
            finds_calls = self.reasoning.kind == "channels" and not is_framed
            certain = params.reasoning_end is not None
            if conversation.separates_reasoning:
                reasoning = self.reasoning.parser(prompt, finds_calls and not use.is_off, certain)
        calls: PieceParser | None = None
        if not use.is_off and not finds_calls:
            calls = self._call_parser(use, is_framed)
        return AnswerParser(reasoning, calls, conversation.streams_reasoning)

    def _call_parser(self, use: ToolUse, is_framed: bool) -> PieceParser:
        call_format = self.call_format
        names = frozenset(tool.name for tool in use.allowed)
        if is_framed and call_format.frame == JSON_LIST:
            call_format = FORMATS["json"]
        if call_format.name == "pythonic":
            return PythonicCallParser(call_format, names, use.most)
        return FramedCallParser(call_format, names, use.most)

    def _tool_constraint(
        self, use: ToolUse, params: SamplingParams
    ) -> tuple[dict[str, Any], list[str]]:
        """The changes of the parameters, and what could not be done."""
        if use.is_forced:
            if params.constraint is not None:
                raise RequestError(
                    "a tool call that must come excludes response_format and other constraints",
                    param="tool_choice",
                )
            return {"tool_calls": forced_calls(self.call_format, use)}, []
        if use.is_off:
            return {}, []
        if params.constraint is not None:
            return self._answer_or_calls(use, params), []
        if not any(tool.strict for tool in use.allowed):
            return {}, []
        tag = strict_calls(self.call_format, use.allowed)
        if tag is not None:
            return {"structural_tag": tag}, []
        return {}, [
            "strict tools are only enforced with tool_choice required, with a response_format, or "
            "with the tool-call parser hermes"
        ]

    def _answer_or_calls(self, use: ToolUse, params: SamplingParams) -> dict[str, Any]:
        """The model may choose: content as its constraint says, or calls."""
        if params.json_schema is None:
            raise RequestError(
                "tools that may be called go with no constraint but a JSON Schema: set tool_choice "
                "to none, or leave the constraint out",
                param="tool_choice",
            )
        grammar = answer_or_calls(self.call_format.frame, use, params.json_schema)
        return {"json_schema": None, "ebnf": grammar}

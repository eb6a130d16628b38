"""What the runtime's two faces, HTTP and in-process, have in common: SGLang's native requests."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ..background import together
from ..choices import ChoiceScores, ChoicesDecision, ChoicesSamplingMethod, decide
from ..config import global_config
from ..errors import BackendError
from ..ir import GenOptions
from .base import BaseBackend, Completion, Prompt, Request

_SAMPLING_NAMES = {
    "max_tokens": "max_new_tokens",
    "min_tokens": "min_new_tokens",
    "n": "n",
    "stop_token_ids": "stop_token_ids",
    "stop_regex": "stop_regex",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repetition_penalty": "repetition_penalty",
    "seed": "seed",
    "ignore_eos": "ignore_eos",
    "regex": "regex",
    "json_schema": "json_schema",
    "ebnf": "ebnf",
    "structural_tag": "structural_tag",
}
_REQUEST_NAMES = (
    "return_logprob",
    "logprob_start_len",
    "top_logprobs_num",
    "return_text_in_logprobs",
)

MAX_BATCH = 1024  # sequences of one call; the runtime takes 4096


def sampling_params(prompt: Prompt, options: GenOptions) -> dict[str, Any]:
    """The options as ``sampling_params`` of a native request."""
    params = {
        wire: value
        for name, wire in _SAMPLING_NAMES.items()
        if (value := getattr(options, name)) is not None
    }
    if stops := [*options.stops(), *prompt.stops]:
        params["stop"] = stops
    if not global_config.skip_special_tokens_in_output:
        params["skip_special_tokens"] = False
    if not global_config.spaces_between_special_tokens_in_out:
        params["spaces_between_special_tokens"] = False
    if options.logit_bias:
        params["logit_bias"] = {str(i): bias for i, bias in options.logit_bias.items()}
    return params


def _calls(requests: Sequence[Request]) -> list[list[int]]:
    """Places of requests that agree in what a call says once, at most MAX_BATCH sequences each."""
    calls: list[list[int]] = []
    open_call: dict[tuple[Any, ...], list[int]] = {}
    room: dict[tuple[Any, ...], int] = {}
    for i, (prompt, options) in enumerate(requests):
        key = (prompt.is_chat, *(getattr(options, name) for name in _REQUEST_NAMES))
        size = options.n or 1
        if room.get(key, 0) < size:
            calls.append([])
            open_call[key], room[key] = calls[-1], MAX_BATCH
        open_call[key].append(i)
        room[key] -= size
    return calls


def _chat(messages: Sequence[Mapping[str, Any]], open_role: str | None) -> dict[str, Any]:
    """What the runtime renders: a chat that ends inside a new turn of ``open_role``."""
    if open_role is None or open_role == "assistant":
        return {"messages": messages, "add_generation_prompt": open_role is not None}
    turns = [*messages, {"role": open_role, "content": ""}]
    return {"messages": turns, "continue_final_message": True}


class NativeBackend(BaseBackend):
    """A runtime; how requests reach it is the subclass's."""

    @abstractmethod
    async def _generate(self, request: dict[str, Any]) -> Any: ...

    @abstractmethod
    def _stream(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]: ...

    @abstractmethod
    async def _score_choices(self, request: dict[str, Any]) -> dict[str, Any]: ...

    @abstractmethod
    async def _render(self, request: dict[str, Any]) -> str: ...

    async def render_chat(
        self, messages: Sequence[Mapping[str, Any]], open_role: str | None
    ) -> str:
        if self.chat_template is not None:
            return self.chat_template.render(messages, open_role)
        return await self._render(_chat(messages, open_role))

    async def generate(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
        response = await self._generate(self._request(prompt, options))
        several = response if isinstance(response, list) else [response]
        return [Completion(one["text"], one["meta_info"], one.get("opening")) for one in several]

    async def generate_batch(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """One request for all prompts that may share one."""
        answers: list[list[Completion]] = [[] for _ in requests]
        await together(
            [self._generate_calls(requests, places, answers) for places in _calls(requests)]
        )
        return answers

    async def _generate_calls(
        self, requests: Sequence[Request], places: Sequence[int], answers: list[list[Completion]]
    ) -> None:
        if len(places) == 1:
            answers[places[0]] = await self.generate(*requests[places[0]])
            return
        bodies = [self._request(*requests[i]) for i in places]
        body = bodies[0] | {
            "text": [one["text"] for one in bodies],
            "sampling_params": [one["sampling_params"] for one in bodies],
        }
        response = iter(await self._generate(body))
        for i in places:
            for _ in range(requests[i].options.n or 1):
                one = next(response)
                answers[i].append(Completion(one["text"], one["meta_info"]))

    async def generate_stream(
        self, prompt: Prompt, options: GenOptions
    ) -> AsyncIterator[Completion]:
        told = 0
        async for response in self._stream(self._request(prompt, options)):
            text = response["text"]
            yield Completion(text[told:], response["meta_info"])
            told = len(text)

    async def select(
        self,
        prompt: Prompt,
        choices: Sequence[str],
        method: ChoicesSamplingMethod,
        temperature: float,
    ) -> ChoicesDecision:
        if temperature > 1e-5:
            raise BackendError(
                f"select decides by likelihood; temperature must be 0: {temperature}"
            )
        response = await self._score_choices(
            {
                "text": prompt.text,
                "choices": list(choices),
                "unconditional": method.requires_unconditional_logprobs,
                "add_special_tokens": not prompt.is_chat,
            }
        )
        scores = [ChoiceScores(**entry) for entry in response["choices"]]
        decision = decide(method, choices, scores)
        decision.meta_info.update(response["meta_info"])
        return decision

    async def warm(self, prompt: Prompt) -> None:
        await self._generate(self._request(prompt, GenOptions(max_tokens=0, temperature=0.0)))

    def _request(self, prompt: Prompt, options: GenOptions) -> dict[str, Any]:
        request: dict[str, Any] = {
            name: value for name in _REQUEST_NAMES if (value := getattr(options, name)) is not None
        }
        request["text"] = prompt.text
        if prompt.unrendered:
            request["chat"] = _chat(prompt.unrendered, prompt.role)
        request["add_special_tokens"] = not prompt.is_chat
        request["sampling_params"] = sampling_params(prompt, options)
        return request

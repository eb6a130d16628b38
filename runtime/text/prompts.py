"""SGLang's native request: one prompt or a list, one set of parameters or a list, n of each."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import RequestError
from ..sampling_params import SamplingParams
from .generation import Generation
from .tokenizer_manager import GenerateInput, TokenizerManager, with_samples

MAX_BATCH = 4096
OPTIONS: dict[str, tuple[type, ...]] = {
    "return_logprob": (bool,),
    "logprob_start_len": (int, type(None)),
    "top_logprobs_num": (int,),
    "token_ids_logprob": (list, tuple),
    "return_text_in_logprobs": (bool,),
    "rid": (str, list, type(None)),
    "priority": (int,),
    "extra_key": (str, type(None)),
    "add_special_tokens": (bool,),
}
PER_PROMPT = ("return_logprob", "logprob_start_len", "top_logprobs_num", "token_ids_logprob")


@dataclass(frozen=True, slots=True)
class Inputs:
    """The single requests that one call stands for."""

    parts: list[GenerateInput]
    is_list: bool  # the response is a list
    with_text: bool  # logprob entries name their token's text

    def single(self) -> GenerateInput:
        """The one request of a call that may have only one."""
        if self.is_list:
            raise RequestError("this takes one prompt and n = 1", param="n")
        return self.parts[0]


def as_inputs(
    prompt: str | Sequence[str] | None,
    sampling_params: Any,
    *,
    input_ids: Any = None,
    stream: bool = False,
    **options: Any,
) -> Inputs:
    """Take a native request apart. The options of ``PER_PROMPT`` may be lists, one for each prompt.

    Raises:
        RequestError: names the field that is wrong.
    """
    texts, ids, is_list = _prompts(prompt, input_ids)
    count = len(texts) or len(ids)
    spread = [_of_prompt(options, i, count) for i in range(count)]
    for one in spread:
        _check_options(one)
    params = _params_list(sampling_params, count)
    rids = _rids(options.get("rid"), count)
    with_text = options.get("return_text_in_logprobs", False)
    parts: list[GenerateInput] = []
    for i in range(count):
        request = GenerateInput(
            text=texts[i] if texts else None,
            input_ids=ids[i] if ids else None,
            sampling_params=params[i],
            stream=stream,
            **_for_input(spread[i], params[i]),
        )
        parts += with_samples(request, rids[i])
    if len(parts) > MAX_BATCH:
        raise RequestError(f"a call may hold at most {MAX_BATCH} sequences", param="n")
    return Inputs(parts, is_list or len(parts) > 1, with_text)


def as_response(manager: TokenizerManager, inputs: Inputs, done: list[Generation]) -> Any:
    """The native response: one dict, or a list of them."""
    dicts = [as_dict(manager, generation, inputs.with_text) for generation in done]
    return dicts if inputs.is_list else dicts[0]


def as_dict(manager: TokenizerManager, generation: Generation, with_text: bool) -> dict[str, Any]:
    texts = manager.token_texts(generation.logprob_token_ids()) if with_text else None
    return generation.as_dict(texts)


def _of_prompt(options: Mapping[str, Any], place: int, count: int) -> dict[str, Any]:
    """The options of one prompt of several."""
    own = dict(options)
    for name in PER_PROMPT:
        value = options.get(name)
        nested = name == "token_ids_logprob"
        if not isinstance(value, list | tuple) or (nested and not _has_rows(value)):
            continue
        if len(value) != count:
            raise RequestError(f"{name} has {len(value)} entries for {count} prompts", param=name)
        own[name] = value[place]
        if own[name] is None:
            del own[name]
    return own


def _has_rows(token_ids: Sequence[Any]) -> bool:
    return any(row is None or isinstance(row, list | tuple) for row in token_ids)


def _for_input(options: Mapping[str, Any], params: SamplingParams) -> dict[str, Any]:
    """What of the options ``GenerateInput`` takes.

    SGLang's -1 is "output tokens only". Who asks for logprobs but for no output, and does not say
    from where, asks for those of the prompt.
    """
    own = {k: v for k, v in options.items() if k not in ("rid", "return_text_in_logprobs")}
    if own.get("logprob_start_len") == -1:
        own["logprob_start_len"] = None
    elif own.get("logprob_start_len") is None and params.max_new_tokens == 0:
        own["logprob_start_len"] = 0 if own.get("return_logprob") else None
    return own


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        kinds = OPTIONS.get(name)
        if kinds is None:
            raise RequestError(f"unknown field {name!r}", param=name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            allowed = " or ".join(kind.__name__ for kind in kinds)
            raise RequestError(f"{name} must be {allowed}, got {value!r}", param=name)


def _prompts(prompt: Any, input_ids: Any) -> tuple[list[str], list[list[int]], bool]:
    if (prompt is None) == (input_ids is None):
        raise RequestError("give either text or input_ids", param="text")
    if prompt is not None:
        texts = [prompt] if isinstance(prompt, str) else prompt
        if not isinstance(texts, list | tuple) or not all(isinstance(t, str) for t in texts):
            raise RequestError("text must be a string or a list of strings", param="text")
        if not texts:
            raise RequestError("text is an empty list", param="text")
        return list(texts), [], not isinstance(prompt, str)
    if not isinstance(input_ids, list | tuple) or not input_ids:
        raise RequestError("input_ids must be a non-empty list", param="input_ids")
    nested = isinstance(input_ids[0], list | tuple)
    rows = list(input_ids) if nested else [list(input_ids)]
    if not all(isinstance(row, list | tuple) for row in rows):
        raise RequestError("input_ids mixes lists and integers", param="input_ids")
    return [], [list(row) for row in rows], nested


def _params_list(sampling_params: Any, count: int) -> list[SamplingParams]:
    if isinstance(sampling_params, list | tuple):
        if len(sampling_params) != count:
            raise RequestError(
                f"sampling_params has {len(sampling_params)} entries for {count} prompts",
                param="sampling_params",
            )
        return [_params(one) for one in sampling_params]
    return [_params(sampling_params)] * count


def _params(value: Any) -> SamplingParams:
    if value is None:
        return SamplingParams()
    if isinstance(value, SamplingParams):
        return value
    if not isinstance(value, Mapping):
        raise RequestError("sampling_params must be an object", param="sampling_params")
    return SamplingParams.from_dict(value)


def _rids(rid: Any, count: int) -> list[str]:
    if rid is None:
        return [uuid.uuid4().hex for _ in range(count)]
    if isinstance(rid, str):
        return [rid] if count == 1 else [f"{rid}_{i}" for i in range(count)]
    if len(rid) != count or not all(isinstance(one, str) for one in rid):
        raise RequestError(f"rid must hold {count} strings", param="rid")
    return list(rid)

"""A served model's tokenizer, and conversations rendered with its template."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..checkpoints.checkpoint import Checkpoint
from ..errors import RequestError, ServerArgsError
from ..server_args import ServerArgs
from .chat_messages import for_template
from .tokenizer import Tokenizer


def load_tokenizer(checkpoint: Checkpoint, args: ServerArgs) -> Tokenizer:
    """The checkpoint's tokenizer, or the one the arguments name, with the template they name.

    Raises:
        ServerArgsError: a file that the arguments name is not there.
        ModelLoadError: the tokenizer or the template is broken.
    """
    config = checkpoint.config
    if args.tokenizer_path is None:
        tokenizer = checkpoint.tokenizer()
    else:
        folder = Path(args.tokenizer_path).expanduser()
        if not (folder / "tokenizer.json").is_file():
            raise ServerArgsError(f"--tokenizer-path {folder} has no tokenizer.json")
        tokenizer = Tokenizer.from_folder(folder, config.vocab_size, config.eos_token_ids)
    if args.chat_template is None:
        return tokenizer
    path = Path(args.chat_template).expanduser()
    if not path.is_file():
        raise ServerArgsError(f"--chat-template {path} is not a file")
    return tokenizer.with_chat_template(path.read_text(encoding="utf-8"))


def render_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> str:
    """The prompt of a conversation; it has its own BOS.

    Args:
        tokenizer: has the template.
        messages: as OpenAI's API has them; a list of text parts counts as their text.
        tools: OpenAI tool definitions; a system text tells of them where the template cannot.
        add_generation_prompt: end with the opening of the assistant's turn.
        continue_final_message: end inside the last message, right after its content, instead.
        chat_template_kwargs: further names for the template.

    Raises:
        RequestError: no template, messages it refuses, or both endings asked for.
    """
    plain, tools = for_template(messages, tools, tokenizer.chat_template or "")
    kwargs = dict(chat_template_kwargs or {})
    if not continue_final_message:
        return tokenizer.render_chat(plain, tools, add_generation_prompt, **kwargs)
    if add_generation_prompt:
        raise RequestError(
            "continue_final_message and add_generation_prompt exclude one another",
            param="continue_final_message",
        )
    if not plain:
        raise RequestError("there is no final message to continue", param="messages")
    # What follows the last content is the template's end of turn: find it behind a mark.
    mark = f"<{secrets.token_hex(16)}>"
    plain[-1]["content"] = f"{plain[-1].get('content') or ''}{mark}"
    text, found, _ = tokenizer.render_chat(plain, tools, False, **kwargs).partition(mark)
    if not found:
        raise RequestError(
            "the chat template leaves out the final message, so it cannot be continued",
            param="continue_final_message",
        )
    return text

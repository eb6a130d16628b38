"""Text to token ids and back, over the ``tokenizers`` package; the model's chat template with it.

Knows nothing of requests. Built from a Hugging Face folder here and from GGUF in
``gguf_tokenizer.py``; never needs transformers or torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from sglang_lang.constrained.token_bytes import token_bytes_of

from ..errors import ModelLoadError, RequestError
from .chat_template import ChatTemplate

_SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """What a tokenizer.json does not say.

    Args:
        vocab_size: rows of the model's logits; padding rows have no token.
        eos_token_ids: ids that end a generation.
        special_tokens: text of ``bos_token``, ``eos_token``, ..., for the chat template.
        chat_templates: Jinja text by name; "default" is the usual one, "tool_use" the one to
            take when the request brings tools.
        unused_token_ids: fill the vocabulary up and stand for no text.
    """

    vocab_size: int
    eos_token_ids: tuple[int, ...] = ()
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    unused_token_ids: frozenset[int] = frozenset()


class Tokenizer:
    """One model's tokenizer.

    Args:
        backend: the tokenizer proper.
        settings: the rest.
    """

    def __init__(self, backend: tokenizers.Tokenizer, settings: TokenizerSettings) -> None:
        # Left over from training in some files; here it would cut prompts without a word.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._settings = settings
        self.vocab_size = settings.vocab_size
        self.eos_token_ids = settings.eos_token_ids
        added = backend.get_added_tokens_decoder()
        self.special_token_ids = frozenset(i for i, token in added.items() if token.special)
        # A text model shares its tokenizer with one for images, say, and has no rows for these.
        self._beyond_model = {i: t.content for i, t in added.items() if i >= self.vocab_size}
        bos = settings.special_tokens.get("bos_token")
        self.bos_token_id: int | None = None if bos is None else backend.token_to_id(bos)
        self._templates = {
            name: ChatTemplate(source, settings.special_tokens)
            for name, source in settings.chat_templates.items()
        }

    @classmethod
    def from_folder(
        cls, folder: Path, vocab_size: int | None = None, eos_token_ids: tuple[int, ...] = ()
    ) -> Tokenizer:
        """Read tokenizer.json, tokenizer_config.json and the chat template of a folder.

        Args:
            folder: a Hugging Face model folder, or one with the tokenizer's files alone.
            vocab_size: rows of the model's logits; the tokenizer's own size when None.
            eos_token_ids: the model's; the tokenizer's own ``eos_token`` when empty.

        Raises:
            ModelLoadError: there is no tokenizer.json, or a file is broken.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelLoadError(
                f"{folder} holds no tokenizer.json; a sentencepiece tokenizer.model must be "
                "converted first (transformers' AutoTokenizer.save_pretrained writes one)"
            )
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises plain Exception for a malformed file
            raise ModelLoadError(f"{path} is broken: {error}") from error
        config = _read_config(folder / "tokenizer_config.json")
        special_tokens = {
            name: token if isinstance(token, str) else token["content"]
            for name in _SPECIAL_TOKEN_NAMES
            if (token := config.get(name)) is not None
        }
        eos = backend.token_to_id(special_tokens.get("eos_token", ""))
        settings = TokenizerSettings(
            vocab_size=vocab_size or 1 + max(backend.get_vocab().values()),
            eos_token_ids=eos_token_ids or (() if eos is None else (eos,)),
            special_tokens=special_tokens,
            chat_templates=_chat_templates(folder, config),
        )
        return cls(backend, settings)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of ``text``; ``add_special_tokens`` puts BOS in front where the model has it.

        Raises:
            RequestError: the text has lone surrogates, which no tokenizer can represent, or a
                token that the model has no embedding for.
        """
        return self.encode_batch([text], add_special_tokens)[0]

    def encode_batch(
        self, texts: Sequence[str], add_special_tokens: bool = True
    ) -> list[list[int]]:
        """``encode`` of each text, in parallel where there are several."""
        try:
            encodings = self._backend.encode_batch_fast(
                list(texts), add_special_tokens=add_special_tokens
            )
        except (TypeError, UnicodeEncodeError) as error:
            raise RequestError(
                "text must be valid Unicode, without lone surrogates", param="text"
            ) from error
        batch = [encoding.ids for encoding in encodings]
        if self._beyond_model:
            self._refuse_beyond_model(batch)
        return batch

    def _refuse_beyond_model(self, batch: Sequence[Sequence[int]]) -> None:
        for token_id in self._beyond_model.keys() & set().union(*batch):
            raise RequestError(
                f"text holds {self._beyond_model[token_id]!r}, a token this model does not have",
                param="text",
            )

    def encode_continuation(self, text: str) -> list[int]:
        """Ids of text that goes on a text already begun: no BOS, and no space put in front.

        Where the tokenizer puts a space before every text, a newline is encoded in front and
        taken off again; no such vocabulary joins a newline with what follows.
        """
        if not self._puts_space_first:
            return self.encode(text, add_special_tokens=False)
        ids = self.encode("\n" + text, add_special_tokens=False)
        newline = self.encode("\n", add_special_tokens=False)
        assert ids[: len(newline)] == newline, f"a newline joined with {text[:20]!r}"
        return ids[len(newline) :]

    @cached_property
    def _puts_space_first(self) -> bool:
        first = self.token_bytes[self.encode("a", add_special_tokens=False)[0]]
        return first is not None and first.startswith(b" ")

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of some ids; bytes that are no UTF-8 become U+FFFD."""
        return self._backend.decode(token_ids, skip_special_tokens=skip_special_tokens)

    @cached_property
    def token_bytes(self) -> list[bytes | None]:
        """The exact bytes each id stands for [vocab_size].

        None for special and unused tokens and for padding rows. A sentencepiece ``▁`` is the
        space it stands for, also at the start of a text, where ``decode`` drops it.
        """
        without = self.special_token_ids | self._settings.unused_token_ids
        return token_bytes_of(self._backend, self.vocab_size, without)

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it, None if the model has no such token."""
        token_id: int | None = self._backend.token_to_id(token)
        return token_id if token_id is not None and token_id < self.vocab_size else None

    @property
    def chat_template(self) -> str | None:
        """The Jinja text of the usual template, None when the model has none."""
        template = self._templates.get("default")
        return None if template is None else template.source

    def with_chat_template(self, source: str) -> Tokenizer:
        """The same tokenizer with another chat template (``--chat-template``)."""
        return Tokenizer(self._backend, replace(self._settings, chat_templates={"default": source}))

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **template_kwargs: Any,
    ) -> str:
        """The prompt of a conversation. It holds its own BOS: encode it without special tokens.

        Raises:
            RequestError: the model has no chat template, or it refuses the messages.
        """
        template = self._templates.get("tool_use" if tools else "default")
        template = template or self._templates.get("default")
        if template is None:
            raise RequestError(
                "this model has no chat template; use completions, or start with --chat-template",
                param="messages",
            )
        return template.render(messages, tools, add_generation_prompt, **template_kwargs)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path} is not valid JSON: {error}") from error
    return config if isinstance(config, dict) else {}


def _chat_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """chat_template.jinja wins; older folders keep one template, or a named list, in the config."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return {"default": file.read_text(encoding="utf-8")}
    templates = config.get("chat_template")
    if isinstance(templates, str):
        return {"default": templates}
    return {entry["name"]: entry["template"] for entry in templates or []}

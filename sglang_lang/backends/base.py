"""What a program asks of the place where it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..background import together
from ..chat_template import ChatTemplate
from ..choices import ChoicesDecision, ChoicesSamplingMethod
from ..errors import BackendError

if TYPE_CHECKING:
    from ..ir import GenOptions, SglMedia


class PlacedMedia(NamedTuple):
    """An image or a video, behind ``offset`` characters of the turn of that number."""

    media: SglMedia
    turn: int
    offset: int


@dataclass(slots=True)
class Prompt:
    """What the model is to continue.

    Args:
        text: the whole prompt as text; for a chat, rendered, and ending where the answer goes on.
        unrendered: turns that the backend is to render ahead of the text, which is then only what
            the open turn says; none but where the backend ``renders_prompts``.
        is_chat: the text came from a chat template, so it has its own BOS.
        messages: the finished turns, for backends that take messages.
        role: of the turn that is open, None outside of turns.
        content: of that turn so far.
        media: images and videos, in the order of the text.
        stops: strings that end the turn, where the template says so.
    """

    text: str
    unrendered: Sequence[Mapping[str, Any]] = ()
    is_chat: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)
    role: str | None = None
    content: str = ""
    media: list[PlacedMedia] = field(default_factory=list)
    stops: tuple[str, ...] = ()


@dataclass(slots=True)
class Completion:
    """Generated text and what is known of it.

    Args:
        text: what was generated.
        meta_info: as the runtime gives it.
        opening: what the prompt's unrendered turns were rendered as.
    """

    text: str
    meta_info: dict[str, Any] = field(default_factory=dict)
    opening: str | None = None


class Request(NamedTuple):
    """One prompt and how to continue it."""

    prompt: Prompt
    options: GenOptions


class BaseBackend(ABC):
    """Coroutines run on the background loop; the other methods may be called from any thread."""

    @property
    @abstractmethod
    def model_name(self) -> str: ...

    @property
    def chat_template(self) -> ChatTemplate | None:
        """A template to use instead of ``render_chat``; None where the model's own is known."""
        return None

    @property
    def renders_prompts(self) -> bool:
        """Whether ``generate`` takes turns that are not rendered, which saves a call for it."""
        return False

    @abstractmethod
    async def render_chat(
        self, messages: Sequence[Mapping[str, Any]], open_role: str | None
    ) -> str:
        """The conversation as the model's template writes it.

        Args:
            messages: finished turns.
            open_role: end inside a new turn of this role; None ends after the last turn.
        """

    @abstractmethod
    async def generate(self, prompt: Prompt, options: GenOptions) -> list[Completion]:
        """Continue the prompt; as many completions as ``options.n``."""

    async def generate_batch(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """Continue independent prompts, in one call where the backend can."""
        return await together([self.generate(one.prompt, one.options) for one in requests])

    @abstractmethod
    def generate_stream(self, prompt: Prompt, options: GenOptions) -> AsyncIterator[Completion]:
        """Continue the prompt; each completion holds the text that is new."""

    @abstractmethod
    async def select(
        self,
        prompt: Prompt,
        choices: Sequence[str],
        method: ChoicesSamplingMethod,
        temperature: float,
    ) -> ChoicesDecision:
        """The likeliest choice after the prompt."""

    async def media(self, media: SglMedia) -> Sequence[SglMedia]:
        """An image or a video in the form in which the model is shown it.

        Raises:
            BackendError: it sees nothing.
        """
        raise BackendError(
            f"{self.model_name} reads text only and cannot be shown this {media.kind}"
        )

    async def warm(self, prompt: Prompt) -> None:  # noqa: B027  (a backend without a cache)
        """Compute the prompt ahead of the requests that will share it, where that is of use."""

    async def length_of_tokens(self, text: str, count: int, add_special_tokens: bool) -> int:
        """Characters of a text's first ``count`` tokens; 0 where there is no tokenizer."""
        return 0

    async def count_tokens(self, text: str) -> int | None:
        """Of a text; None where the backend has no tokenizer."""
        return None

    def as_backend(self) -> BaseBackend:
        return self

    def flush_cache(self) -> None:  # noqa: B027
        """Forget cached KV, where there is any."""

    def get_server_info(self) -> dict[str, Any]:
        return {}

    def shutdown(self) -> None:  # noqa: B027
        """Give back what the backend holds."""


class HasBackend(Protocol):
    """A backend, or something that can be one."""

    def as_backend(self) -> BaseBackend: ...

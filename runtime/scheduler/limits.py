"""What no single request may exceed, so that any one of them fits alone."""

from __future__ import annotations

from dataclasses import dataclass

from .req import Req


@dataclass(slots=True)
class Limits:
    """In tokens."""

    context_len: int  # prompt plus output
    max_total_tokens: int  # KV slots

    def refusal(self, req: Req) -> str | None:
        """Why the request can never run, for its client; None if it can."""
        if not req.prompt_len:
            return "the prompt is empty: input_ids must hold at least one token"
        if req.prompt_len > self.context_len or (
            req.prompt_len == self.context_len and not req.prefill_only
        ):
            return (
                f"the prompt has {req.prompt_len} tokens, and prompt and output together may "
                f"have {self.context_len}: shorten input_ids or raise --context-length"
            )
        most = req.prompt_len + req.max_output
        if most > self.max_total_tokens:
            return (
                f"prompt ({req.prompt_len}) and max_new_tokens ({req.max_output}) need {most} KV "
                f"slots of {self.max_total_tokens}: lower max_new_tokens, or raise "
                "--max-total-tokens"
            )
        return None

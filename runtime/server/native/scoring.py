"""How likely given texts continue a prompt."""

from __future__ import annotations

from dataclasses import asdict

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...text.scoring import score_choices
from ..bodies import read
from ..context import context_of
from ..routing import Routes
from ..streaming import json_response, while_connected

router = Routes()


class ScoreChoicesBody(msgspec.Struct):
    text: str
    choices: list[str]
    unconditional: bool = False
    add_special_tokens: bool = True


@router.post("/score_choices", body=ScoreChoicesBody)
async def score(request: Request) -> Response:
    """Token logprobs of each choice as a continuation of the text."""
    body = await read(request, ScoreChoicesBody)
    manager = context_of(request).manager
    work = score_choices(
        manager, body.text, body.choices, body.unconditional, body.add_special_tokens
    )
    scored, prompt = await while_connected(request, work)
    return json_response(
        {"choices": [asdict(choice) for choice in scored], "meta_info": prompt.meta_info()}
    )

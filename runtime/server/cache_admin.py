"""The radix cache over HTTP: pinning prefixes, and the tree for drawing."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..errors import RequestError
from ..text.pinning import pin_prefix, unpin_prefix
from ..text.tokenizer import Tokenizer
from ..text.tokenizer_manager import GenerateInput
from .bodies import namespace, read
from .context import context_of
from .routing import Routes
from .streaming import json_response, while_connected

router = Routes()
DEFAULT_NODES = 200
MOST_NODES = 2000


class PrefixBody(msgspec.Struct):
    """A prefix as /generate takes it."""

    text: str | None = None
    input_ids: list[int] | None = None
    extra_key: str | None = None
    cache_salt: str | None = None
    add_special_tokens: bool = True

    def prefix(self) -> GenerateInput:
        return GenerateInput(
            text=self.text,
            input_ids=self.input_ids,
            extra_key=namespace(self.extra_key, self.cache_salt),
            add_special_tokens=self.add_special_tokens,
        )


@router.post("/pin_prefix", body=PrefixBody)
async def pin(request: Request) -> Response:
    body = await read(request, PrefixBody)
    work = pin_prefix(context_of(request).manager, body.prefix())
    return json_response({"pinned_tokens": await while_connected(request, work)})


@router.post("/unpin_prefix", body=PrefixBody)
async def unpin(request: Request) -> Response:
    body = await read(request, PrefixBody)
    await unpin_prefix(context_of(request).manager, body.prefix())
    return json_response({})


@router.get("/radix_tree", query={"nodes": "most nodes to show"})
async def radix_tree(request: Request) -> Response:
    """The top of the tree, parents before children; ``text`` is how a node's tokens begin."""
    given = request.query_params.get("nodes", str(DEFAULT_NODES))
    if not given.isdecimal() or not 1 <= int(given) <= MOST_NODES:
        raise RequestError(f"nodes must be in [1, {MOST_NODES}], got {given!r}", param="nodes")
    context = context_of(request)
    tree = (await context.manager.control("radix_tree", most_nodes=int(given))).data
    return json_response(
        {**tree, "nodes": [_with_text(node, context.tokenizer) for node in tree["nodes"]]}
    )


def _with_text(node: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    text = tokenizer.decode(node["token_ids"], skip_special_tokens=False)
    return {**node, "text": text}

"""What Ollama's clients ask of the models: which there are, what they are, the version."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .bodies import read
from .context import ServerContext, context_of
from .ollama_answers import ollama_envelope, served_model
from .routing import Routes
from .streaming import json_response

router = Routes(ollama_envelope)
KEPT_FOR = timedelta(days=36_500)  # Ollama unloads its models; this one stays


class ShowBody(msgspec.Struct):
    model: str = ""
    name: str = ""  # what older clients say
    verbose: bool | None = None


@router.get("/api/version")
async def show_version(request: Request) -> Response:
    return json_response({"version": version("sglang-lang")})


@router.get("/api/tags")
async def tags(request: Request) -> Response:
    context = context_of(request)
    return json_response({"models": [_card(context) | {"modified_at": _since(context)}]})


@router.get("/api/ps")
async def running(request: Request) -> Response:
    """The one model there is: it never expires."""
    context = context_of(request)
    until = (datetime.now(UTC) + KEPT_FOR).isoformat()
    card = _card(context) | {"context_length": context.max_model_len}
    return json_response({"models": [card | {"expires_at": until}]})


@router.post("/api/show", body=ShowBody)
async def show(request: Request) -> Response:
    body = await read(request, ShowBody)
    context = context_of(request)
    served_model(context, body.model or body.name)
    defaults = {k: v for k, v in asdict(context.config.generation).items() if v is not None}
    return json_response(
        {
            "modelfile": f"FROM {context.args.model_path or context.model_name}\n",
            "parameters": "\n".join(f"{name} {value}" for name, value in defaults.items()),
            "template": context.tokenizer.chat_template or "",
            "details": _details(context),
            "model_info": _model_info(context),
            "capabilities": ["completion", "tools", *_thinking(context)],
            "modified_at": _since(context),
        }
    )


def _thinking(context: ServerContext) -> list[str]:
    return ["thinking"] if context.dialect.reasoning is not None else []


def _card(context: ServerContext) -> dict[str, Any]:
    """``digest`` tells models of different names or configurations apart."""
    identity = repr((context.model_name, context.args.model_path, context.config))
    return {
        "name": context.model_name,
        "model": context.model_name,
        "digest": hashlib.sha256(identity.encode()).hexdigest(),
        "details": _details(context),
    }


def _details(context: ServerContext) -> dict[str, Any]:
    family = context.config.family
    level = context.args.quantization or context.args.dtype
    return {"family": family, "families": [family], "quantization_level": level}


def _model_info(context: ServerContext) -> dict[str, Any]:
    """Keys as a GGUF file names them."""
    config = context.config
    sizes = {
        "context_length": context.max_model_len,
        "embedding_length": config.hidden_size,
        "block_count": config.num_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_heads,
        "attention.head_count_kv": config.num_kv_heads,
        "attention.key_length": config.head_dim,
        "vocab_size": config.vocab_size,
    }
    return {
        "general.architecture": config.family,
        **{f"{config.family}.{name}": size for name, size in sizes.items()},
    }


def _since(context: ServerContext) -> str:
    return datetime.fromtimestamp(context.created, UTC).isoformat()

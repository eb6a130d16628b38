"""GET /openapi.json: every route with the body that it really reads, from the same structs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .auth import ADMIN_PATHS, OPEN_PATHS
from .context import context_of
from .routing import Operation, Routes
from .streaming import json_response

router = Routes()
COMPONENT = "#/components/schemas/{name}"
ERRORS = {
    "400": "The request is wrong; `param` names the field.",
    "401": "The API key is missing or wrong.",
    "403": "The route needs the admin key.",
    "404": "There is no such model, path or object.",
    "413": "The body is too large.",
    "429": "Too many requests; see Retry-After.",
    "500": "A fault of the server's; its log says more.",
    "503": "The model's process is being restarted; see Retry-After.",
}
ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"description": "An object, or Ollama's text."}},
}


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """This page."""
    context, operations = context_of(request), request.app.state.operations
    with_keys = bool(context.args.api_key or context.args.admin_api_key)
    return json_response(document(operations, with_keys))


def document(operations: Sequence[Operation], with_keys: bool) -> dict[str, Any]:
    """OpenAPI 3.1 of the routes; ``with_keys`` if some of them need an API key."""
    bodies = sorted({op.body for op in operations if op.body}, key=lambda body: body.__name__)
    schemas, components = msgspec.json.schema_components(bodies, ref_template=COMPONENT)
    by_body = dict(zip(bodies, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path, names = _plain_path(operation.path)
        for method in operation.methods:
            described = _operation(operation, names, by_body)
            described["operationId"] = f"{method.lower()}_{operation.path.strip('/')}"
            if with_keys and path not in OPEN_PATHS:
                described["security"] = [{"bearer": []}]
            paths.setdefault(path, {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "sglang_lang", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": ERROR_SCHEMA},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(
    operation: Operation, names: Iterable[str], by_body: dict[type[msgspec.Struct], Any]
) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in operation.query.items()
    ]
    error = {"application/json": {"schema": {"$ref": COMPONENT.format(name="Error")}}}
    described: dict[str, Any] = {
        "summary": _summary(operation),
        "parameters": parameters,
        "responses": {
            "200": {"description": "The answer; a stream if `stream` is true."},
            **{status: {"description": text, "content": error} for status, text in ERRORS.items()},
        },
    }
    if operation.path in ADMIN_PATHS:
        described["tags"] = ["admin"]
    if operation.body is not None:
        content = {"application/json": {"schema": by_body[operation.body]}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _summary(operation: Operation) -> str:
    text = inspect.getdoc(operation.endpoint) or operation.endpoint.__name__.replace("_", " ")
    return text.partition("\n")[0].replace("``", "`")


def _plain_path(path: str) -> tuple[str, list[str]]:
    """Without starlette's converters: ``/v1/models/{name:path}`` -> ``/v1/models/{name}``."""
    plain = re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
    return plain, re.findall(r"\{(\w+)\}", plain)

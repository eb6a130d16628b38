"""Health, and what the model and the server are and do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...sampling_params import SamplingParams
from ...text.tokenizer_manager import GenerateInput
from ..context import context_of
from ..routing import Routes
from ..streaming import json_response

router = Routes()


@router.get("/health")
@router.get("/ready")
async def health(request: Request) -> Response:
    alive = context_of(request).manager.is_alive
    return Response(status_code=200 if alive else 503)


@router.get("/health_generate")
async def health_generate(request: Request) -> Response:
    """Generate one token: healthy means that the model answers."""
    params = SamplingParams(max_new_tokens=1, temperature=0.0, ignore_eos=True)
    probe = GenerateInput(input_ids=[0], sampling_params=params, extra_key="health")
    await context_of(request).manager.generate(probe)
    return Response(status_code=200)


@router.get("/model_info")
@router.get("/get_model_info")
async def model_info(request: Request) -> Response:
    context = context_of(request)
    path = context.args.model_path or context.model_name
    return json_response(
        {
            "model_path": path,
            "served_model_name": context.model_name,
            "tokenizer_path": context.args.tokenizer_path or path,
            "is_generation": True,
            "preferred_sampling_params": None,
            "load_format": context.args.load_format,
            "model_type": context.config.family,
            "architectures": [context.config.architecture],
            "has_chat_template": context.tokenizer.chat_template is not None,
            "has_image_understanding": False,
            "has_audio_understanding": False,
            "max_model_len": context.max_model_len,
        }
    )


@router.get("/server_info")
@router.get("/get_server_info")
async def server_info(request: Request) -> Response:
    context = context_of(request)
    reply = await context.manager.control("stats")
    ready = context.manager.ready
    return json_response(
        {
            **context.args.public(),
            "served_model_name": context.model_name,
            "dp_size": 1,
            "max_total_num_tokens": ready.max_total_num_tokens if ready else None,
            "max_req_input_len": ready.max_req_input_len if ready else None,
            "load_seconds": ready.load_seconds if ready else None,
            "internal_states": [
                {**reply.data, "last_gen_throughput": reply.data.get("gen_throughput")}
            ],
        }
    )


@router.get("/get_load")
async def get_load(request: Request) -> Response:
    data = (await context_of(request).manager.control("stats")).data
    running, waiting = data["num_running_reqs"], data["num_queue_reqs"]
    return json_response(
        [
            {
                "dp_rank": 0,
                "num_reqs": running + waiting,
                "num_waiting_reqs": waiting,
                "num_tokens": data["num_used_tokens"],
            }
        ]
    )

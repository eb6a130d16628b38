"""What every route needs: arguments, tokenizer manager, the model's name."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request

from ..checkpoints.config import ModelConfig
from ..errors import RequestError
from ..messages import Pooling
from ..server_args import ServerArgs
from ..text.dialect import Dialect
from ..text.sessions import Sessions
from ..text.tokenizer import Tokenizer
from ..text.tokenizer_manager import TokenizerManager
from .http_stats import HttpStats
from .openai.response_database import ResponseDatabase
from .openai.response_store import ResponseStore

ALIASES = ("default", "unknown")  # sglang-router writes "unknown" where its client named none


@dataclass(slots=True)
class ServerContext:
    args: ServerArgs
    manager: TokenizerManager
    config: ModelConfig
    model_name: str
    http_stats: HttpStats = field(default_factory=HttpStats)
    startup_seconds: float | None = None  # known once it can take requests
    # Phases of the start in this process: "launch" ends with the start of the scheduler's process.
    start_seconds: dict[str, float] = field(default_factory=dict)
    sessions: Sessions = field(default_factory=Sessions)
    weight_version: str = "default"  # what the last update of the weights was called
    created: int = field(default_factory=lambda: int(time.time()))
    dialect: Dialect = field(init=False)
    responses: ResponseStore = field(init=False)

    def __post_init__(self) -> None:
        self.dialect = Dialect.of(self.manager.tokenizer, self.args)
        folder = self.args.responses_dir
        database = None if folder is None else ResponseDatabase(Path(folder).expanduser())
        self.responses = ResponseStore(database)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.manager.tokenizer

    @property
    def max_model_len(self) -> int:
        ready = self.manager.ready
        return ready.context_len if ready is not None else self.config.context_len

    @property
    def pooling(self) -> Pooling:
        """How this model's hidden states become one vector."""
        if self.args.pooling != "auto":
            return self.args.pooling
        return self.config.embedding.pooling or "mean"

    def check_model(self, name: str | None) -> None:
        """404 for a model that is not served; these names, None and "" mean the served one."""
        if name and name not in (self.model_name, *ALIASES):
            raise RequestError(
                f"the model {name!r} does not exist; this server has {self.model_name!r}",
                param="model",
                status=404,
                code="model_not_found",
            )

    def model_card(self) -> dict[str, Any]:
        return {
            "id": self.model_name,
            "object": "model",
            "created": self.created,
            "owned_by": "sglang-lang",
            "root": self.args.model_path or self.model_name,
            "max_model_len": self.max_model_len,
            "embedding": {
                "pooling": self.pooling,
                "dimensions": self.config.hidden_size,
                "trained_for_embedding": self.config.embedding.pooling is not None,
            },
        }


def context_of(request: Request) -> ServerContext:
    context: ServerContext = request.app.state.context
    return context

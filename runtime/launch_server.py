"""Starts the server: the scheduler process first, then HTTP in this process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

from . import logs
from .checkpoints.checkpoint import open_checkpoint
from .command_line import make_parser, parse_args
from .errors import SGLangError
from .listener import bind
from .server.supervisor import SchedulerProcess
from .server_args import ServerArgs, resolve
from .text.chat import load_tokenizer
from .text.tokenizer_manager import TokenizerManager

__all__ = ["launch_server", "main", "make_parser"]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; a mistake of the user's is one line on stderr and exit status 2."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        args = resolve(parse_args(sys.argv[1:] if argv is None else argv))
        logs.set_up(args.log_level, args.log_format)
        launch_server(args)
    except SGLangError as error:
        print(f"sglang-lang: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def _leave(signum: int, frame: FrameType | None) -> None:
    """SIGTERM is the ordinary way to stop; uvicorn raises it again once requests are drained."""
    raise SystemExit(0)


def launch_server(args: ServerArgs) -> None:
    """Serve until SIGTERM or SIGINT; running requests may finish first.

    Args:
        args: resolved arguments.

    Raises:
        SGLangError: it cannot start; the message names the flag or the file.
    """
    listener = bind(args)
    checkpoint = open_checkpoint(args.model_path, args.load_format)
    # The scheduler takes longest to start, so it goes first; this process imports the web stack
    # and builds the tokenizer meanwhile.
    scheduler = SchedulerProcess(args)
    try:
        from .server.context import ServerContext
        from .server.serve import serve

        tokenizer = load_tokenizer(checkpoint, args)
        manager = TokenizerManager(
            tokenizer,
            args.max_queued_requests,
            args.request_timeout,
            checkpoint.config.has_head,
        )
        name = args.served_model_name or checkpoint.name
        serve(args, ServerContext(args, manager, checkpoint.config, name), scheduler, listener)
    finally:
        if scheduler.process.poll() is None:
            scheduler.process.kill()

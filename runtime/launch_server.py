"""Starts the server: the scheduler process first, then HTTP in this process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

from . import logs
from .checkpoints.embedded import fetch_embedded_model
from .command_line import make_parser, parse_args
from .errors import SGLangError
from .listener import bind
from .server.supervisor import SchedulerProcess
from .server_args import ServerArgs, resolve

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
    if args.model_path is None:
        fetch_embedded_model()  # here, or both processes would
    # The scheduler takes longest to start, so it goes first; this process imports the rest and
    # builds the tokenizer meanwhile.
    scheduler = SchedulerProcess(args)
    try:
        from .server.serve import serve

        serve(args, scheduler, listener)
    finally:
        if scheduler.process.poll() is None:
            scheduler.process.kill()

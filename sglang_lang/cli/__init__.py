"""The command line, ``sglang-lang``: serve, programs, chat, benchmarks, batches, and a doctor.

argparse and the language only, so that a client without the runtime's packages has every command
that talks to a server elsewhere.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sglang_lang as sgl

from .. import terminal
from ..backends.base import BaseBackend
from ..errors import BackendError, CommandError, ProgramError
from ..extras import MissingExtraError, needs
from ..runtime import doctor
from ..runtime.errors import SGLangError
from ..timeline import Timeline
from . import bench, completion, run_batch

SERVE_HELP = "start the server; takes the server's flags (serve --help)"
Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a mistake of the user's ends in one line on stderr and status 2."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if arguments[:1] == ["serve"]:
            return serve(arguments[1:])
        args = parser().parse_args(arguments)
        command: Command = args.command
        return command(args)
    except (SGLangError, MissingExtraError, BackendError, CommandError, ProgramError) as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return 130


def complain(message: str) -> int:
    print(f"sglang-lang: {message}", file=sys.stderr)
    return 2


def parser(serve_parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """All commands; ``serve`` with the flags of its own parser, if that is given."""
    top = argparse.ArgumentParser(prog="sglang-lang", description="Programs that call LLMs.")
    top.add_argument("--version", action="version", version=sgl.__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    parents = [] if serve_parser is None else [serve_parser]
    commands.add_parser("serve", help=SERVE_HELP, parents=parents, conflict_handler="resolve")

    command = add_command(commands, "run", run, "run a file of programs")
    command.add_argument("program", metavar="PROGRAM.py")
    command.add_argument("arguments", nargs="*", metavar="ARG", help="the program's own arguments")
    command.add_argument("--graph", action="store_true", help="print each program's graph instead")
    command.add_argument(
        "--trace",
        metavar="FILE.json",
        type=Path,
        help="write when programs, forks and calls ran, for chrome://tracing and ui.perfetto.dev",
    )
    add_backend_flags(command)

    command = add_command(commands, "chat", chat, "talk to a model in the terminal")
    command.add_argument("--system", metavar="TEXT", help="the system turn")
    add_sampling_flags(command, temperature=0.7, max_tokens=512)
    add_backend_flags(command)

    command = add_command(commands, "generate", generate, "continue a prompt")
    command.add_argument("prompt", help="the text to continue, or - for standard input")
    command.add_argument("--regex", help="the output matches this expression")
    command.add_argument("--json-schema", metavar="SCHEMA", help="the output is such JSON")
    add_sampling_flags(command, temperature=0.0, max_tokens=128)
    add_backend_flags(command)

    command = add_command(commands, "cache", cache, "draw the prefix cache of a running server")
    command.add_argument("--url", default="http://127.0.0.1:30000", help="where the server is")
    command.add_argument("--api-key", metavar="KEY", help="what the server asks for")
    command.add_argument("--nodes", type=int, default=100, help="most nodes to draw")

    bench.add_to(commands)
    run_batch.add_to(commands)
    completion.add_to(commands, parser_with_server_flags)

    add_command(
        commands, "doctor", examine, "say what this machine has, lacks, and what that costs"
    )
    return top


def parser_with_server_flags() -> argparse.ArgumentParser:
    """The same, with the flags of ``serve``, which needs the runtime's packages."""
    with needs("runtime"):
        from ..runtime import launch_server
    return parser(launch_server.make_parser())


def add_command(commands: Any, name: str, command: Command, text: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    added.set_defaults(command=command)
    return added


def add_backend_flags(command: argparse.ArgumentParser) -> None:
    where = command.add_mutually_exclusive_group()
    where.add_argument("--url", help="a running server, such as http://127.0.0.1:30000")
    where.add_argument("--model-path", metavar="PATH", help="load this model in this process")
    command.add_argument("--api-key", metavar="KEY", help="what the server asks for")


def add_sampling_flags(
    command: argparse.ArgumentParser, temperature: float, max_tokens: int
) -> None:
    command.add_argument("--temperature", type=float, default=temperature)
    command.add_argument("--max-tokens", type=int, default=max_tokens)


class Connection:
    """Where the programs of a command run: a server, or an engine that starts when it is needed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._lock = threading.Lock()
        self._backend: BaseBackend | None = None

    def as_backend(self) -> BaseBackend:
        with self._lock:
            if self._backend is None:
                self._backend = self._connect()
        return self._backend

    def _connect(self) -> BaseBackend:
        if self._args.url:
            return sgl.RuntimeEndpoint(self._args.url, api_key=self._args.api_key)
        return sgl.Engine(model_path=self._args.model_path, log_level="warning").as_backend()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        if self._backend is not None:
            self._backend.shutdown()


def serve(flags: list[str]) -> int:
    with needs("runtime"):
        from ..runtime import launch_server
    return launch_server.main(flags)


def run(args: argparse.Namespace) -> int:
    """Run the file as a script whose default backend is the chosen one, or print its graphs."""
    if args.graph:
        return print_graphs(args.program)
    timeline = Timeline() if args.trace is not None else None
    with Connection(args) as connection:
        sgl.set_default_backend(connection)
        sgl.global_config.timeline = timeline
        sys.argv = [args.program, *args.arguments]
        try:
            run_file(args.program, "__main__")
        finally:
            sgl.global_config.timeline = None
            if timeline is not None:
                calls = timeline.write(args.trace)
                print(f"{calls} calls in {args.trace}", file=sys.stderr)
    return 0


def run_file(program: str, name: str) -> dict[str, Any]:
    """Run a file as ``python`` would, under a name; returns its globals."""
    path = Path(program)
    if not path.is_file():
        raise CommandError(f"{program} is not a file")
    sys.path.insert(0, str(path.resolve().parent))  # where its own imports are looked for
    return runpy.run_path(program, run_name=name)


def print_graphs(program: str) -> int:
    """The graphs of a file's programs, found without a model."""
    for name, value in run_file(program, "__graph__").items():
        if isinstance(value, sgl.SglFunction):
            print(f"{name}:")
            value.trace().print_graph_dfs()
    return 0


def chat(args: argparse.Namespace) -> int:
    with Connection(args) as connection:
        terminal.chat(connection, args.system, **sampling(args))
    return 0


def generate(args: argparse.Namespace) -> int:
    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    with Connection(args) as connection:
        terminal.generate(
            connection, prompt, regex=args.regex, json_schema=args.json_schema, **sampling(args)
        )
    return 0


def cache(args: argparse.Namespace) -> int:
    with needs("runtime"):
        from .. import cache_view
    cache_view.draw(cache_view.fetch(args.url, args.api_key, args.nodes))
    return 0


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    return {"temperature": args.temperature, "max_new_tokens": args.max_tokens}


def examine(_: argparse.Namespace) -> int:
    findings = doctor.examine()
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        print(f"{finding.topic:{width}}  {finding.text}")
        if finding.advice:
            print(f"{'':{width}}  ! {finding.advice}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure this server beside others on one machine: fresh starts, one server at a time, medians.

usage: python -m benchmarks.serve [--runs 3] [--load MODULE] [--peer NAME START STOP MODEL]...
Peers are commands, so nothing here knows where they are installed. A start command returns when
the peer answers; {port} in it becomes the port. See benchmarks/README.md for examples.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sglang_lang.runtime import doctor

START_SECONDS = 300
STOP_SECONDS = 30

HEADINGS = {"start": "start to first answer"}
# Works that are about the tokens written in a second; all others are about how long they took.
BY_TOKENS = ("single", "batch")

Row = dict[str, Any]
Results = dict[str, dict[str, list[float]]]  # server -> work -> one value a round


@dataclass(frozen=True, slots=True)
class Ours:
    """This server with some flags, a child of this process."""

    name: str
    flags: str
    model: str = "default"

    @contextmanager
    def running(self, port: int) -> Iterator[None]:
        command = [sys.executable, "-m", "sglang_lang.launch_server", "--port", str(port)]
        process = subprocess.Popen([*command, *shlex.split(self.flags)])
        try:
            wait_until_healthy(process, port)
            yield
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server, started and stopped by commands of its own."""

    name: str
    start: str
    stop: str
    model: str

    @contextmanager
    def running(self, port: int) -> Iterator[None]:
        subprocess.run(shlex.split(self.start.format(port=port)), check=True)
        try:
            yield
        finally:
            subprocess.run(shlex.split(self.stop.format(port=port)), check=True)


def wait_until_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"the server was not healthy after {START_SECONDS} s")


def first_answer(port: int, model: str) -> None:
    body = {"model": model, "prompt": "Hello", "max_tokens": 1}
    url = f"http://127.0.0.1:{port}/v1/completions"
    httpx.post(url, json=body, timeout=START_SECONDS).raise_for_status()


def rows_of(command: list[str]) -> list[Row]:
    """Run a command that prints JSON rows among other lines."""
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def measure_server(server: Ours | Peer, args: argparse.Namespace, seed: int) -> list[Row]:
    begin = time.perf_counter()
    with server.running(args.port):
        first_answer(args.port, server.model)
        start = {"work": "start", "wall_s": round(time.perf_counter() - begin, 2)}
        url = f"http://127.0.0.1:{args.port}"
        script = [args.load] if args.load.endswith(".py") else ["-m", args.load]
        load = [sys.executable, *script, url, server.model, *load_flags(args, seed)]
        return [start, *rows_of(load)]


def load_flags(args: argparse.Namespace, seed: int) -> list[str]:
    work = ["--work", args.work] if args.work else []
    return [*work, "--scale", str(args.scale), "--seed", str(seed)]


def measure(args: argparse.Namespace) -> Results:
    servers: list[Ours | Peer] = [Ours(*ours) for ours in args.ours]
    servers += [Peer(*peer) for peer in args.peer]
    results: Results = defaultdict(lambda: defaultdict(list))
    for seed in range(args.runs):
        measured = {server.name: measure_server(server, args, seed) for server in servers}
        for name, command in args.offline:
            measured[name] = rows_of([*shlex.split(command), *load_flags(args, seed)])
        for name, rows in measured.items():
            for row in rows:
                print(json.dumps({"server": name, "seed": seed, **row}), flush=True)
                column = "out_tok_s" if row["work"] in BY_TOKENS else "wall_s"
                results[name][row["work"]].append(row[column])
    return results


def table(results: Results) -> str:
    """Medians, and in brackets how many times faster the first server is."""
    ours, *others = results
    lines = ["| work | " + " | ".join(results) + " |", "| --- |" + " --- |" * len(results)]
    for work, values_of_ours in results[ours].items():
        more_is_better = work in BY_TOKENS
        unit = "output tok/s" if more_is_better else "s"
        heading = f"{HEADINGS.get(work, work)}, {unit}"
        own = statistics.median(values_of_ours)
        cells = [f"{own:g} ({spread(values_of_ours)})"]
        for other in others:
            values = results[other].get(work)
            if not values:
                cells.append("")
                continue
            value = statistics.median(values)
            ratio = own / value if more_is_better else value / own
            cells.append(f"{value:g} ({ratio:.2f}x)")
        lines.append(f"| {heading} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    return f"{min(values):g} to {max(values):g}"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--load",
        default="benchmarks.load",
        metavar="MODULE",
        help="what loads a server, or SCRIPT.py",
    )
    parser.add_argument("--work", help="only these, by their names in the load script")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3, help="fresh starts of each server")
    parser.add_argument("--port", type=int, default=30100)
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument(
        "--ours",
        nargs=2,
        action="append",
        metavar=("NAME", "FLAGS"),
        help="this server with some flags; the first one is compared with all others",
    )
    parser.add_argument(
        "--peer",
        nargs=4,
        action="append",
        default=[],
        metavar=("NAME", "START", "STOP", "MODEL"),
        help="another server: its commands and the name its API gives the model",
    )
    parser.add_argument(
        "--offline",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "COMMAND"),
        help="a command that does the same work without a server and prints such rows",
    )
    args = parser.parse_args()
    args.ours = args.ours or [("sglang_lang bf16", "--dtype bfloat16")]
    return args


def main() -> None:
    args = parse_args()
    results = measure(args)
    processor = doctor.examine()[0].text
    heading = f"{args.runs} fresh starts each, scale {args.scale:g}, {processor}"
    text = f"{heading}\n\n{table(results)}\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)


if __name__ == "__main__":
    main()

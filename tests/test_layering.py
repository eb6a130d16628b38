"""Imports run downwards only: the floors of the system, checked on the syntax trees.

kernels < radix_cache, constrained < runtime < sglang_lang (the language). A planted upward import
proves that the check can fail.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("kernels", "radix_cache", "constrained", "runtime")

# What a module may import of this package, by the longest matching prefix of its own name.
# "sglang_lang" is the language; its links to the folders are other modules.
ALLOWED = {
    "kernels": ("kernels",),
    "radix_cache": ("radix_cache",),
    "constrained": ("constrained", "kernels.native"),
    "runtime": ("runtime", "kernels", "radix_cache", "constrained"),
    "runtime.layers": ("runtime.layers", "runtime.model_executor.forward_batch", "kernels"),
    "runtime.models": (
        "runtime.models",
        "runtime.layers",
        "runtime.checkpoints",
        "runtime.model_executor.forward_batch",
        "runtime.errors",
        "kernels",
    ),
    "": (
        "",
        "runtime.sampling_params",
        "runtime.errors",
        "runtime.engine",
        "runtime.launch_server",
        "runtime.doctor",
    ),
}

# What a room of the runtime may not know although its floor may.
FORBIDDEN = {
    "runtime.scheduler": (  # jump-forward alone retokenises, so the tokenizer is allowed
        "runtime.server",
        "runtime.text.tokenizer_manager",
        "runtime.text.detokenizer",
        "runtime.engine",
    ),
    "runtime.model_executor": ("runtime.scheduler", "runtime.server", "runtime.text"),
    "runtime.checkpoints": ("runtime.scheduler", "runtime.server", "runtime.model_executor"),
    "runtime.text": ("runtime.server", "runtime.scheduler", "runtime.model_executor"),
    "runtime.server": ("runtime.scheduler", "runtime.model_executor", "runtime.models"),
}

# Packages of others that a floor may import; a floor that is not listed may import any.
PACKAGES = {
    "kernels": {"torch", "numpy", "triton", "flashinfer"},
    "radix_cache": {"torch", "numpy"},
    "constrained": {"numpy", "numba", "llguidance", "outlines_core"},
    "": {
        "httpx",
        "aiohttp",
        "uvloop",
        "av",
        "openai",
        "anthropic",
        "litellm",
        "google",
        "tiktoken",
        "jsonschema",
        "jinja2",
        "pydantic",
        "rich",
        "matplotlib",
        "shtab",
    },
}

HEAVY = ("torch", "transformers", "zmq", "msgspec", "numpy", "starlette")


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def longest_prefix(name: str, prefixes: Iterable[str]) -> str | None:
    matching = [prefix for prefix in prefixes if prefix and within(name, prefix)]
    return max(matching, key=len, default=None)


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield (module name below sglang_lang, file); rglob does not enter the links."""
    for folder in (*FOLDERS, "sglang_lang"):
        base = root / folder
        for path in sorted(base.rglob("*.py")):
            relative = path.relative_to(base if folder == "sglang_lang" else root)
            yield ".".join(relative.with_suffix("").parts).removesuffix(".__init__"), path


def imported_names(name: str, path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, full dotted name) of every import, relative ones resolved."""
    package = ["sglang_lang", *name.split(".")]
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def may_import(name: str, target: str) -> bool:
    """Whether module ``name`` may import ``target``; both are named below sglang_lang."""
    own_floor = longest_prefix(name, ALLOWED)
    allowed = ALLOWED[own_floor or ""]
    is_language = not any(within(target, folder) for folder in FOLDERS)
    if not any(within(target, prefix) if prefix else is_language for prefix in allowed):
        return False
    room = longest_prefix(name, FORBIDDEN)
    return room is None or not any(within(target, prefix) for prefix in FORBIDDEN[room])


def violations(root: Path) -> list[str]:
    found = []
    for name, path in sources(root):
        floor = next((folder for folder in FOLDERS if within(name, folder)), "")
        tree = ast.parse(path.read_text())
        for line, target in imported_names(name, path, tree):
            top = target.split(".")[0]
            if top == "sglang_lang":
                inner = target.removeprefix("sglang_lang").removeprefix(".")
                wrong = not may_import(name, inner)
            else:
                packages = PACKAGES.get(floor)
                wrong = packages is not None and top not in (*packages, *sys.stdlib_module_names)
            if wrong:
                found.append(f"{path.relative_to(root)}:{line} imports {target}")
    return found


def test_imports_run_downwards() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("kernels/a.py", "from sglang_lang.runtime.messages import GenerateRequest"),
        ("kernels/ops/b.py", "from ...runtime import messages"),
        ("kernels/c.py", "import transformers"),
        ("radix_cache/d.py", "def late():\n    from sglang_lang.kernels import dispatch"),
        ("constrained/e.py", "import torch"),
        ("constrained/f.py", "from sglang_lang.kernels.dispatch import load_ops"),
        ("runtime/g.py", "from sglang_lang import gen"),
        ("runtime/layers/h.py", "from ..models import llama"),
        ("runtime/scheduler/i.py", "from sglang_lang.runtime.text.detokenizer import X"),
        ("sglang_lang/j.py", "from .runtime.scheduler import batch"),
        ("sglang_lang/k.py", "import torch"),
    ],
)
def test_an_upward_import_is_caught(tmp_path: Path, file: str, statement: str) -> None:
    planted = tmp_path / file
    planted.parent.mkdir(parents=True)
    planted.write_text(statement + "\n")
    assert [line.split(":")[0] for line in violations(tmp_path)] == [file]


def import_graph(root: Path) -> dict[str, set[str]]:
    """Module -> modules its body imports when it is imported (not in functions, not for types)."""
    modules = {name for name, _ in sources(root)}
    graph: dict[str, set[str]] = {}
    for name, path in sources(root):
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        targets = set()
        for _, full in imported_names(name, path, tree):
            target = full.removeprefix("sglang_lang.")
            targets |= {target, target.rpartition(".")[0]} & modules
        graph[name] = targets - {name}
    return graph


def test_no_file_imports_itself_through_others() -> None:
    try:
        TopologicalSorter(import_graph(ROOT)).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(error.args[1]))


def test_a_planted_cycle_is_caught(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime/a.py").write_text("from .b import x\n")
    (tmp_path / "runtime/b.py").write_text("from sglang_lang.runtime import a\n")
    with pytest.raises(CycleError):
        TopologicalSorter(import_graph(tmp_path)).prepare()


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_is_linked_and_shadows_no_package(folder: str) -> None:
    """An ``__init__.py`` would make a bare ``import kernels`` find ours before the real one."""
    assert not (ROOT / folder / "__init__.py").exists()
    assert (ROOT / "sglang_lang" / folder).readlink() == Path("..") / folder


def test_importing_the_language_is_light() -> None:
    """The client runs on a laptop without the runtime's packages: nothing heavy, under 0.3 s."""
    program = (
        "import sys, time; start = time.perf_counter(); import sglang_lang; "
        "print(time.perf_counter() - start, *(m for m in sys.modules if '.' not in m))"
    )
    seconds = []
    for _ in range(5):
        output = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
        elapsed, *loaded = output.split()
        assert set(loaded).isdisjoint(HEAVY)
        seconds.append(float(elapsed))
    assert min(seconds) < 0.3

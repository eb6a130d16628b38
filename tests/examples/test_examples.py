"""Every example runs on the embedded model, and says what it is there to show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

# What an example's output must match; the model's own words are left open.
SHOWN = {
    "async_programs": r"(?m)^.+: known for .+$",
    "batch_csv": r"review,mood,about\s+(.+,(positive|negative),(room|staff|food|price)\s+){4}",
    "classify": r"(?m)^sports +The team won",
    "extract_json": r"Ship\(name='.+', built_in=\d+, length=\d+, passengers=\d+\)",
    "hosted_api": r"3 calls, \d+ prompt tokens billed\nwriting ahead: .+\n  [12] calls",
    "judge": r"better in relevance: [12] .+\n +better in tone: [12] .+\n +better: [12]",
    "logits_processor": r"(\{'city': '.*', 'country': '(France|Italy|Spain)', .+\}\s+){2}",
    "multi_turn_chat": r"(?s)user: .+assistant: .+user: .+[1-9]\d* of \d+ prompt tokens",
    "own_engine": r"(\w+day, \d+:\d\d [ap]m +\(\d+ steps.+\s+){3}(\{\"room_number\": .+\s+){3}",
    "rag": r"Who built the lighthouse\?\n +answer: .+\n +lighthouse.txt: .+ Ruth Holloway",
    "react_agent": r"Action: (\d+ [-+*] \d+)\nObservation: -?\d+\n(.+\n)+Answer: -?\d+",
    "skeleton_of_thought": r"(their \w+: Lions .+\.\n){3}",
    "stream": r"(?s)what: .+\nwhy: .+",
    "tree_of_thought": r"35 from \(3, 4, 5\): .*= 35 \(left: 35\)",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=EXAMPLES.parent,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(SHOWN.get(path.stem, r"\S"), done.stdout), done.stdout

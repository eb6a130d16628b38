"""The example of docs/radix_cache.md does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_runs() -> None:
    (program,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/radix_cache.md").read_text(), re.DOTALL
    )
    output = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
    assert output.splitlines() == [
        "3 of 4 tokens are cached, in slots [1 2 3]",
        "5 tokens in 3 nodes, hit rate 75%",
        "2 tokens evicted, 1020 slots free",
    ]

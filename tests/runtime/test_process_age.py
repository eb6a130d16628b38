from __future__ import annotations

import subprocess
import sys
import time


def test_it_begins_with_the_process() -> None:
    program = "from sglang_lang.runtime.process_age import process_age; print(process_age())"
    begin = time.monotonic()
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert 0 < float(printed.stdout) < time.monotonic() - begin + 0.02  # the clock's tick

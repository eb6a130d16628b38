"""How long this process has been running."""

from __future__ import annotations

import time

import psutil


def process_age() -> float:
    """Seconds since the process was started, before its interpreter was."""
    return time.time() - float(psutil.Process().create_time())

"""Qwen2 and Qwen2.5: Llama's layer with biases on queries, keys and values (Yang et al. 2024).

The biases, and the sliding window that some upper layers may have, are in the configuration.
"""

from __future__ import annotations

from .llama import build

__all__ = ["build"]

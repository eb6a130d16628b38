"""The version that is installed; asking the metadata takes a while, so nobody asks at import."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sglang-lang")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

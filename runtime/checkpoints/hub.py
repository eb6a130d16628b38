"""Downloads a model from the Hugging Face hub: safetensors and JSON, never pickles or code."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ModelLoadError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WANTED = ["*.safetensors", "*.json", "*.jinja"]
_UNWANTED = ["consolidated*", "original/*"]  # the same weights under the authors' own names


def fetch_from_hub(repo_id: str) -> Path:
    """The folder with a snapshot of ``repo_id``, from the hub's own cache where it is complete.

    Raises:
        ModelLoadError: no such model, no access, or no network and no cached copy.
    """
    # Imported here because local models never need it.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except (OSError, ValueError) as error:  # the hub's own errors are kinds of these
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelLoadError(
            f"model path {repo_id!r} is no file or folder here, and the hub did not give it: "
            f"{reason}"
        ) from error

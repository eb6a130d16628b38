"""A missing optional package is named with its extra; a bug of ours is not hidden."""

from __future__ import annotations

import pytest

from sglang_lang.extras import MissingExtraError, needs


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'sglang-lang\[cuda\]'") as caught:
        with needs("cuda"):
            raise ModuleNotFoundError("No module named 'flashinfer'", name="flashinfer")
    assert caught.value.name == "flashinfer"


def test_a_missing_module_of_our_own_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError, match="sglang_lang.absent"):
        with needs("cuda"):
            import sglang_lang.absent  # type: ignore[import-not-found]  # noqa: F401

"""instructor, in the modes that constrain the model."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel

instructor = pytest.importorskip("instructor")
openai = pytest.importorskip("openai")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
    pytest.mark.filterwarnings("ignore"),  # the package's own
]


class Pet(BaseModel):
    kind: Literal["cat", "dog"]
    age: int


@pytest.mark.parametrize("mode", ["TOOLS", "TOOLS_STRICT", "JSON_SCHEMA"])
def test_answers_with_a_model(openai_url: str, mode: str) -> None:
    with openai.OpenAI(base_url=openai_url, api_key="sk-test") as plain:
        client: Any = instructor.from_openai(plain, mode=getattr(instructor.Mode, mode))
        pet = client.chat.completions.create(
            model="default",
            response_model=Pet,
            messages=[{"role": "user", "content": "My dog Rex is 4 years old."}],
            max_tokens=100,
            temperature=0,
            max_retries=0,
        )
    assert isinstance(pet, Pet)

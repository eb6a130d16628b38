"""JSON extraction: the output has the shape of a dataclass, whatever the model would write.

python examples/extract_json.py
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import sglang_lang as sgl

PAGE = """The Sea Cloud is a sailing yacht, built in Kiel in 1931. She is 110 metres long, has
four masts and carries 64 passengers through the Mediterranean Sea."""


class Kind(Enum):
    yacht = "yacht"
    ferry = "ferry"
    freighter = "freighter"


@dataclass
class Ship:
    name: str
    kind: Kind
    year_built: int
    masts: int


@sgl.function
def extract(s: sgl.ProgramState, page: str) -> None:
    s += sgl.user(f"{page}\n\nWrite the ship's name, kind, year_built and masts as JSON.")
    s += sgl.assistant(sgl.gen("ship", json_schema=Ship, max_tokens=100, temperature=0))


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        state = extract.run(PAGE, backend=engine)
        print(state["ship"])
        print(state.get_object("ship", Ship))


if __name__ == "__main__":
    main()

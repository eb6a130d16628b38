"""JSON extraction from a page of text: the output is an instance of a dataclass.

The schema holds the model to the fields and their types, and writes what it leaves no choice of.
python examples/extract_json.py
"""

from __future__ import annotations

from dataclasses import dataclass

import sglang_lang as sgl


@dataclass
class Ship:
    name: str
    built_in: int
    length: int
    passengers: int


PAGE = """Harbour news. On Friday morning an old lady comes back to our port: the sailing yacht
Sea Cloud. She was built in Kiel in 1931 for an American heiress, served as a weather ship in the
war, and has carried guests since 1979. The yacht is 110 metres long, and her four masts can be
seen from far away. When all 30 sails are set, a crew of 60 has its hands full. The Sea Cloud
carries 64 passengers, for whom there is a library, and a marble bath that the heiress had built
in. Visitors may come on board on Saturday from ten to four; the way is marked from the station."""


@sgl.function
def extract(s: sgl.ProgramState, page: str) -> None:
    s += f"Page: {page}\nShip: " + sgl.gen("ship", json_schema=Ship, max_tokens=100, temperature=0)


def main() -> None:
    with sgl.Engine(log_level="warning") as engine:
        state = extract.run(PAGE, backend=engine)
        print(state["ship"])
        print(state.get_object("ship", Ship))
        usage = state.usage
        print(f"{usage.forced_tokens} of {usage.completion_tokens} tokens followed from the schema")


if __name__ == "__main__":
    main()

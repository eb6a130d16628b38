"""API speculative execution: three fields of a hosted model for the price of one call.

Without ``--url`` a server of our own is started as the API. A hosted one takes its key from
OPENAI_API_KEY.
python examples/hosted_api.py [--url http://127.0.0.1:30000/v1] [--model NAME]
"""

from __future__ import annotations

import argparse
import os

import sglang_lang as sgl

EXAMPLES = """What is known of a person, one line each.

Marie Curie: born 1867; field physics; country Poland.
Charles Darwin: born 1809; field biology; country England.
Ada Lovelace: born 1815; field mathematics; country England.
"""


@sgl.function
def describe(s: sgl.ProgramState, name: str) -> None:
    s += f"{EXAMPLES}{name}: born"
    s += sgl.gen("born", stop=";") + "; field"
    s += sgl.gen("field", stop=";") + "; country"
    s += sgl.gen("country", stop=".") + "."


def compare(url: str, model: str) -> None:
    """Run the program plainly, and with writing ahead."""
    key = os.environ.get("OPENAI_API_KEY", "none")
    api = sgl.OpenAI(model, is_chat_model=False, base_url=url, api_key=key)
    ahead = sgl.function(num_api_spec_tokens=32)(describe.func)
    for title, program in (("plain calls", describe), ("writing ahead", ahead)):
        state = program.run("Albert Einstein", temperature=0, backend=api)
        usage = state.usage
        print(f"{title}: {state.variables}")
        print(f"  {usage.calls} calls, {usage.prompt_tokens} prompt tokens billed")
    api.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="an OpenAI-compatible API; default: a server started here")
    parser.add_argument("--model", default="default")
    args = parser.parse_args()
    if args.url:
        compare(args.url, args.model)
        return
    with sgl.Runtime() as runtime:
        compare(f"{runtime.base_url}/v1", args.model)


if __name__ == "__main__":
    main()

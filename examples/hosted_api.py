"""API speculative execution: three fields of a hosted model for the price of one call.

Without ``--url`` a server of our own is started as the API. A hosted one takes its key from
OPENAI_API_KEY.
python examples/hosted_api.py [--url http://127.0.0.1:30000/v1] [--model NAME]
"""

from __future__ import annotations

import argparse
import os

import sglang_lang as sgl

EXAMPLES = """Write down what is known of a person, as in these examples.

Name: Marie Curie
Born: 1867
Field: physics

Name: Charles Darwin
Born: 1809
Field: biology

"""


@sgl.function
def describe(s: sgl.ProgramState, name: str) -> None:
    s += f"{EXAMPLES}Name: {name}\n"
    s += "Born:" + sgl.gen("born", stop="\n")
    s += "\nField:" + sgl.gen("field", stop="\n")
    s += "\n\nName:" + sgl.gen("next_name", stop="\n")


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

"""API speculative execution: three fields of a hosted model for the price of one call.

The API here is our own server; ``sgl.OpenAI("gpt-4o-mini")`` is the real one.
python examples/hosted_api.py
"""

from __future__ import annotations

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


def main() -> None:
    with sgl.Runtime() as runtime:
        api = sgl.OpenAI(
            "default", is_chat_model=False, base_url=f"{runtime.base_url}/v1", api_key="none"
        )
        ahead = sgl.function(num_api_spec_tokens=32)(describe.func)
        for title, program in (("plain calls", describe), ("writing ahead", ahead)):
            state = program.run("Albert Einstein", temperature=0, backend=api)
            usage = state.usage
            print(f"{title}: {state.variables}")
            print(f"  {usage.calls} calls, {usage.prompt_tokens} prompt tokens billed")
        api.shutdown()


if __name__ == "__main__":
    main()

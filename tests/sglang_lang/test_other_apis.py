"""The Anthropic and LiteLLM backends over real HTTP, against a scripted server."""

from __future__ import annotations

import pytest

import sglang_lang as sgl

from .openai_server import Reply, openai_server


@sgl.function
def chat(s: sgl.ProgramState) -> None:
    s += sgl.system("Be brief.")
    s += sgl.user("Hi")
    s += sgl.assistant(sgl.gen("x", stop=".", max_tokens=5) + sgl.select("y", ["no", "yes"]))


def test_anthropic_gets_the_system_apart() -> None:
    replies = iter(["one. two", "maybe", "yes!"])
    with openai_server(lambda body: next(replies)) as server:
        backend = sgl.Anthropic("claude", base_url=server.url.removesuffix("/v1"), api_key="key")
        state = chat.run(backend=backend)
        backend.shutdown()
    assert (state["x"], state["y"]) == ("one", "yes")
    first, *_, last = server.requests
    assert first["system"] == "Be brief."
    assert first["messages"] == [{"role": "user", "content": "Hi"}]
    assert (first["stop_sequences"], first["max_tokens"]) == (["."], 5)
    assert last["messages"][-1] == {"role": "assistant", "content": "one"}
    assert state.usage.calls == 3
    assert state.messages()[0] == {"role": "system", "content": "Be brief."}


def test_anthropic_refuses_and_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with openai_server(lambda body: Reply(status=400)) as server:
        backend = sgl.Anthropic("claude", base_url=server.url.removesuffix("/v1"), api_key="key")
        with pytest.raises(sgl.ProgramError, match="the API refused"):
            chat.run(backend=backend)
        backend.shutdown()
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(sgl.BackendError, match="set ANTHROPIC_API_KEY"):
        sgl.Anthropic("claude")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # litellm's own
def test_litellm_reaches_an_openai_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # its import asks the network else
    pytest.importorskip("litellm")
    replies = iter(["one. two", "yes!"])
    with openai_server(lambda body: next(replies)) as server:
        backend = sgl.LiteLLM("openai/scripted", api_base=server.url, api_key="key")
        state = chat.run(backend=backend)
    assert (state["x"], state["y"]) == ("one", "yes")
    assert server.requests[0]["stop"] == ["."]
    assert state.usage.calls == 2

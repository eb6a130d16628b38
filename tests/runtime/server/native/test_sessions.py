"""Sessions over an echoing scheduler: the answer repeats the whole prompt."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

JSON = dict[str, Any]


async def opened(client: httpx.AsyncClient, **fields: Any) -> str:
    response = await client.post("/open_session", json={"capacity_of_str_len": 100, **fields})
    assert response.status_code == 200, response.text
    session_id: str = response.json()
    return session_id


async def turn(client: httpx.AsyncClient, text: str, **params: Any) -> httpx.Response:
    return await client.post("/generate", json={"text": text, "session_params": params})


async def said(client: httpx.AsyncClient, text: str, **params: Any) -> tuple[str, str]:
    """(text, rid) of a turn's answer."""
    response = await turn(client, text, **params)
    assert response.status_code == 200, response.text
    answer = response.json()
    return answer["text"], answer["meta_info"]["id"]


async def test_turns_go_on_from_the_one_they_name(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    first, one = await said(client, "ab", id=session)
    assert first == "ab"
    assert (await said(client, "c", id=session, rid=one))[0] == "ababc"
    assert (await said(client, "d", id=session, rid=one))[0] == "ababd"
    assert (await said(client, "e", id=session, rid=one, drop_previous_output=True))[0] == "abe"
    assert (await said(client, "f", id=session, rid=one, offset=1))[0] == "af"
    assert (await said(client, "g", id=session))[0] == "g"


async def test_replacing_forgets_what_followed(client: httpx.AsyncClient) -> None:
    session = await opened(client, session_id="mine")
    assert session == "mine"
    _, one = await said(client, "a", id=session)
    _, two = await said(client, "b", id=session, rid=one)
    _, three = await said(client, "c", id=session, rid=two)
    await said(client, "d", id=session, rid=one, replace=True)
    for gone in (two, three):
        response = await turn(client, "x", id=session, rid=gone)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "session_params.rid"


async def test_a_streamed_turn_is_kept_too(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    body: JSON = {"text": "ab", "rid": "r1", "stream": True, "session_params": {"id": session}}
    await client.post("/generate", json=body)
    assert (await said(client, "c", id=session, rid="r1"))[0] == "ababc"


async def test_a_closed_session_is_gone(client: httpx.AsyncClient) -> None:
    session = await opened(client)
    taken = await client.post(
        "/open_session", json={"capacity_of_str_len": 9, "session_id": session}
    )
    assert taken.status_code == 400
    assert (await client.post("/close_session", json={"session_id": session})).status_code == 200
    assert (await turn(client, "x", id=session)).status_code == 404
    assert (await client.post("/close_session", json={"session_id": session})).status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text": ["a", "b"]}, "n"),
        ({"text": "a", "sampling_params": {"n": 2}}, "n"),
        ({"text": "x" * 101}, "session_params.id"),
    ],
)
async def test_what_no_turn_can_be(client: httpx.AsyncClient, body: JSON, param: str) -> None:
    session = await opened(client)
    response = await client.post("/generate", json=body | {"session_params": {"id": session}})
    assert response.status_code == 400 and response.json()["error"]["param"] == param

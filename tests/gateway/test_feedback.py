"""Feedback: stored before it is acknowledged, found by the inference it is about."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.gateway.running import Gateway
from tests.gateway.test_endpoints import assert_error
from tests.gateway.upstream import Upstream


@pytest.fixture(scope="module")
def inference_id(gateway: Gateway) -> str:
    answered: str = gateway.ask("assistant").json()["inference_id"]
    return answered


@pytest.mark.parametrize("value", [True, False, 4.5, -3, "too long", ""])
def test_feedback_is_in_the_ledger_when_it_is_acknowledged(gateway: Gateway, value: Any) -> None:
    inference_id = gateway.ask("assistant").json()["inference_id"]
    body = {"inference_id": inference_id, "name": "judged", "value": value, "comment": "c", "correction": "d"}
    response = gateway.http.post("/v1/feedback", json=body)
    assert response.status_code == 200
    (row,) = gateway.workspace.feedback.of(inference_id)
    assert response.json() == {"feedback_id": row["feedback_id"], "inference_id": inference_id}
    assert (row["name"], row["value"], row["comment"], row["correction"]) == ("judged", value, "c", "d")
    assert type(row["value"]) is type(value) or isinstance(value, int)
    assert row["caller"] == "anonymous"


def test_a_thumb_is_what_is_meant_when_no_name_is_given(gateway: Gateway, inference_id: str) -> None:
    gateway.http.post("/v1/feedback", json={"inference_id": inference_id, "value": True})
    assert gateway.workspace.feedback.of(inference_id)[-1]["name"] == "thumb"


@pytest.mark.parametrize("route", ["assistant", "rag", "forward"])
def test_feedback_right_after_the_last_event(gateway: Gateway, upstream: Upstream, route: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
        for _ in range(5):
            asked = client.chat.completions.create(
                model=route, messages=[{"role": "user", "content": "When does the library open?"}], stream=True
            )
            inference_id = asked.response.headers["x-inference-id"]
            for _ in asked:
                pass
            given = gateway.http.post("/v1/feedback", json={"inference_id": inference_id, "value": False})
            assert given.status_code == 200, given.text


def test_the_caller_is_written_down(keyless: Gateway, inference_id: str) -> None:
    _, key = keyless.workspace.keys.create("front desk", role="app", principals=[])
    body = {"inference_id": inference_id, "value": 1}
    given = keyless.http.post("/v1/feedback", json=body, headers={"Authorization": f"Bearer {key}"})
    assert given.status_code == 200
    assert keyless.workspace.feedback.of(inference_id)[-1]["caller"] == "front desk"


def test_personal_data_in_a_comment_is_scrubbed(gateway: Gateway, inference_id: str) -> None:
    comment = "write to jane.doe@example.com"
    gateway.http.post("/v1/feedback", json={"inference_id": inference_id, "value": 1, "comment": comment})
    assert "jane.doe" not in gateway.workspace.feedback.of(inference_id)[-1]["comment"]


def test_an_unknown_inference_is_not_found(gateway: Gateway) -> None:
    response = gateway.http.post("/v1/feedback", json={"inference_id": "inf_none", "value": True})
    said = "no inference 'inf_none'; use the inference_id of an answer"
    assert_error(response, 404, "not_found_error", said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inference_id": None}, "'inference_id': Input should be a valid string"),
        ({"inference_id": ""}, "'inference_id'"),
        ({"inference_id": "x" * 65}, "'inference_id'"),
        ({"name": "Thumb up"}, "'name'"),
        ({"name": ""}, "'name'"),
        ({"value": None}, "'value': give true, false, a number, or a text"),
        ({"value": {"a": 1}}, "'value': give true, false"),
        ({"value": [1]}, "'value': give true, false"),
        ({"value": "x" * 1001}, "at most 1000 characters"),
        ({"comment": 5}, "'comment': Input should be a valid string, not 5"),
        ({"comment": "x" * 10_001}, "'comment': String should have at most 10000 characters"),
        ({"correction": "x" * 50_001}, "'correction'"),
        ({"correct": "x"}, "'correct' is no field of this request; leave it out"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_feedback_is_refused_and_not_kept(
    gateway: Gateway, inference_id: str, change: dict[str, Any], said: str
) -> None:
    before = len(gateway.workspace.feedback.of(inference_id))
    body = {"inference_id": inference_id, "value": True} | change
    message = assert_error(gateway.http.post("/v1/feedback", json=body), 400, "invalid_request_error", said)
    assert len(message) < 400
    assert len(gateway.workspace.feedback.of(inference_id)) == before


def test_a_value_is_needed(gateway: Gateway, inference_id: str) -> None:
    response = gateway.http.post("/v1/feedback", json={"inference_id": inference_id})
    assert_error(response, 400, "invalid_request_error", "'value' is missing")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_a_number_is_finite(gateway: Gateway, inference_id: str, number: str) -> None:
    content = f'{{"inference_id": "{inference_id}", "value": {number}}}'
    response = gateway.http.post("/v1/feedback", content=content)
    assert_error(response, 400, "invalid_request_error")

"""One inference while it happens."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from llmops.records import Caller, Usage
from llmops.tracing import Inference


def inference() -> Inference:
    return Inference(
        route="r", caller=Caller(name="shop"), content_policy="none", spec_hashes={"route:r": "h"}, model="m"
    )


def test_each_inference_has_an_id_of_its_own() -> None:
    ids = {inference().inference_id for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"inf_[0-9a-f]{32}", one) for one in ids)


def test_stations_become_spans_in_the_order_in_which_they_end() -> None:
    made = inference()
    with made.station("outer", question="q") as outer:
        with made.station("inner") as inner:
            inner.output = [1]
        outer.output = {"n": 2}
    first, second = made.spans
    assert (first.station, first.input, first.output) == ("inner", {}, [1])
    assert (second.station, second.input, second.output) == ("outer", {"question": "q"}, {"n": 2})
    assert 0 <= second.start_ms <= first.start_ms
    assert first.start_ms + first.duration_ms <= second.start_ms + second.duration_ms <= made.elapsed_ms


@pytest.mark.parametrize("error", [ValueError("no such thing"), KeyboardInterrupt("no such thing")])
def test_a_station_that_fails_is_kept_with_its_error(error: BaseException) -> None:
    made = inference()
    with pytest.raises(type(error), match="no such thing"), made.station("search", question="q"):
        raise error
    [span] = made.spans
    assert span.input == {"question": "q"}
    assert span.output == {"error": f"{type(error).__name__}: no such thing"}


def test_what_a_failing_station_had_already_is_not_overwritten() -> None:
    made = inference()
    with pytest.raises(ValueError, match="cut"), made.station("generate") as span:
        span.output = {"text": "half an ans"}
        raise ValueError("cut")
    assert made.spans[0].output == {"text": "half an ans"}


def test_the_record_says_what_was_known() -> None:
    made = inference()
    made.usage, made.cost_usd, made.ttft_ms = Usage(input_tokens=1, output_tokens=2), 0.5, 3.0
    with made.station("embed"):
        pass
    trace = made.finish("error", "it broke")
    assert (trace.inference_id, trace.route, trace.caller, trace.model) == (made.inference_id, "r", "shop", "m")
    assert (trace.status, trace.error, trace.usage, trace.cost_usd, trace.ttft_ms) == (
        "error",
        "it broke",
        made.usage,
        0.5,
        3.0,
    )
    assert [span.station for span in trace.spans] == ["embed"]
    assert trace.duration_ms >= trace.spans[0].duration_ms
    assert trace.started_at.utcoffset() == datetime.now(UTC).utcoffset()
    assert trace.spec_hashes == {"route:r": "h"}

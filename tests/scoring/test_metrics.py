"""Metrics by name: what each reads of one answer, and how many readings become one value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.errors import ConfigurationError
from llmops.records import Example
from llmops.scoring import Observed, measure, metric_named
from llmops.scoring.metrics import METRIC_NAMES, holds
from tests.scoring.observed import citation, observed, passage

OPENING = Example(
    example_id="opening",
    question="When does the library open?",
    answers=("at nine", "9 a.m."),
    sources=("opening.md", "faq.md"),
    evidence=("opens at nine", "from nine o'clock"),
)
BEYOND = Example(example_id="beyond", question="Is there a pool?")
NINE = "The library\n  opens at   nine in the morning."


def reading(metric: str, example: Example, seen: Observed) -> float | None:
    row = metric_named(metric).read(example, seen)
    if row is None:
        return None
    (value,) = row
    return value


# Retrieval: quotes are alternatives, and the first passage that holds any of them counts


@pytest.mark.parametrize(
    ("passages", "recall_1", "recall_2", "recall_3", "ndcg_3"),
    [
        ([NINE], 1, 1, 1, 1),
        (["Fees", NINE], 0, 1, 1, 1 / math.log2(3)),
        (["Fees", "Rooms", NINE], 0, 0, 1, 1 / 2),
        (["Fees", "Rooms", "Cards", NINE], 0, 0, 0, 0),
        (["Fees", "It is open from nine o'clock.", NINE], 0, 1, 1, 1 / math.log2(3)),
        ([NINE, "It is open from nine o'clock."], 1, 1, 1, 1),  # the other quote adds nothing
        ([NINE, NINE], 1, 1, 1, 1),
        (["It opens", "at nine"], 0, 0, 0, 0),  # cut in two it is in neither
        ([], 0, 0, 0, 0),
    ],
)
def test_the_first_passage_that_holds_a_quote_counts(
    passages: list[str], recall_1: float, recall_2: float, recall_3: float, ndcg_3: float
) -> None:
    seen = observed(passages=passages)
    assert [reading(f"recall@{k}", OPENING, seen) for k in (1, 2, 3)] == [recall_1, recall_2, recall_3]
    assert reading("ndcg@3", OPENING, seen) == pytest.approx(ndcg_3)


@pytest.mark.parametrize("metric", ["recall@5", "ndcg@5"])
def test_retrieval_needs_evidence(metric: str) -> None:
    without = Example(example_id="a", question="When?", answers=("at nine",))
    assert reading(metric, without, observed(passages=[NINE])) is None
    assert reading(metric, BEYOND, observed(passages=[NINE])) is None


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 12))
def test_more_depth_never_lowers_retrieval_and_a_better_place_never_lowers_ndcg(
    places: list[bool], k: int
) -> None:
    seen = observed(passages=[NINE if is_right else "Fees" for is_right in places])
    earlier = observed(passages=[NINE if is_right else "Fees" for is_right in places[1:]])
    for metric in ("recall", "ndcg"):
        shallow, deep = (reading(f"{metric}@{depth}", OPENING, seen) for depth in (k, k + 1))
        assert shallow is not None
        assert deep is not None
        assert 0 <= shallow <= deep <= 1
        moved_up = reading(f"{metric}@{k}", OPENING, earlier)
        assert moved_up is not None
        assert moved_up >= shallow or places[0]


def test_a_quote_is_compared_without_its_white_space_but_with_its_case() -> None:
    assert holds(passage(1, NINE), "library opens at nine")
    assert holds(passage(1, NINE), "  opens\nat nine ")
    assert not holds(passage(1, NINE), "Opens at nine")
    assert not holds(passage(1, NINE), "opens at ten")
    assert not holds(passage(1, NINE), " \n")  # an empty quote would stand everywhere


# Citations


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        (["opening.md"], 1.0),
        (["faq.md", "opening.md"], 1.0),
        (["fees.md"], 0.0),
        (["opening.md", "fees.md", "rooms.md", "faq.md"], 0.5),
        ([], None),
    ],
)
def test_a_citation_is_right_when_its_document_answers(uris: list[str], expected: float | None) -> None:
    cited = [citation(number, uri) for number, uri in enumerate(uris, start=1)]
    assert reading("citation_precision", OPENING, observed("At nine.", cited=cited)) == expected


def test_citations_are_judged_only_where_the_right_sources_are_known() -> None:
    seen = observed("At nine [1].", cited=[citation(1, "opening.md")])
    assert reading("citation_precision", BEYOND, seen) is None  # the abstention metrics count that it answered
    correction = Example(example_id="c", question="When?", answers=("at nine",))
    assert reading("citation_precision", correction, seen) is None


# Answers against references


@pytest.mark.parametrize(
    ("metric", "text", "expected"),
    [
        ("token_f1", "It opens at nine.", 2 / 3),
        ("token_recall", "It opens at nine.", 1),
        ("answer_included", "It opens at nine.", 1),
        ("answer_included", "It opens at ten.", 0),
        ("token_recall", "It opens at ten.", 1 / 2),
        ("token_f1", "9 a.m.", 1),
        ("token_f1", "", 0),
    ],
)
def test_an_answer_is_compared_with_its_references(metric: str, text: str, expected: float) -> None:
    assert reading(metric, OPENING, observed(text)) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["token_f1", "token_recall", "answer_included"])
def test_who_abstains_has_said_nothing_right_and_an_unanswerable_question_has_no_reference(metric: str) -> None:
    assert reading(metric, OPENING, observed("At nine? I don't know.", abstains=True)) == 0
    assert reading(metric, BEYOND, observed("At nine.")) is None
    assert reading(metric, BEYOND, observed("I don't know.", abstains=True)) is None


@pytest.mark.parametrize("text", ["At nine [1].", "At nine[1][12].", "[1] At nine. [12]", "At[12]nine."])
def test_markers_of_citations_are_no_words_of_the_answer(text: str) -> None:
    cited = [citation(1), citation(12)]
    assert reading("token_f1", OPENING, observed(text, cited=cited)) == 1


def test_brackets_that_are_no_citations_belong_to_the_answer() -> None:
    code = Example(example_id="code", question="Which one is first?", answers=("row[0]",))
    assert reading("answer_included", code, observed("It is row[0] [1].", cited=[citation(1)])) == 1
    assert reading("answer_included", code, observed("It is row[0].")) == 1
    assert reading("answer_included", code, observed("It is row.")) == 0


# Abstention, groundedness, latency


@pytest.mark.parametrize("metric", ["abstention_precision", "abstention_recall", "abstention_f1"])
def test_abstention_reads_both_sides_of_every_example(metric: str) -> None:
    read = metric_named(metric).read
    assert read(OPENING, observed("At nine.")) == (0.0, 0.0)
    assert read(OPENING, observed("", abstains=True)) == (1.0, 0.0)
    assert read(BEYOND, observed("Yes.")) == (0.0, 1.0)
    assert read(BEYOND, observed("", abstains=True)) == (1.0, 1.0)


def test_abstention_combines_counts_not_means() -> None:
    rows = [(1.0, 1.0)] * 2 + [(1.0, 0.0)] + [(0.0, 1.0)] * 2 + [(0.0, 0.0)] * 5
    values = [measure(metric_named(f"abstention_{name}"), rows) for name in ("precision", "recall", "f1")]
    assert [value.value for value in values if value] == pytest.approx([2 / 3, 2 / 4, 4 / 7])


def test_groundedness_is_read_where_something_is_stated() -> None:
    assert reading("groundedness", OPENING, observed("At nine.", groundedness=0.75)) == 0.75
    assert reading("groundedness", OPENING, observed("At nine.", groundedness=0.0)) == 0.0
    assert reading("groundedness", OPENING, observed("")) is None


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_latency_percentiles_are_the_usual_linear_ones(latencies: list[float]) -> None:
    rows = np.array(latencies).reshape(-1, 1)
    for percent in (50, 95):
        metric = metric_named(f"latency_p{percent}_ms")
        assert metric.combine(rows) == pytest.approx(float(np.percentile(latencies, percent)), abs=1e-6)
        assert min(latencies) <= metric.combine(rows) <= max(latencies)
    assert reading("latency_p95_ms", OPENING, observed(latency_ms=12.5)) == 12.5


def test_less_is_better_of_latencies_only() -> None:
    fewer = [name for name in METRIC_NAMES[2:] if metric_named(name).is_better == "less"]
    assert fewer == ["latency_p50_ms", "latency_p95_ms"]


# Names


@pytest.mark.parametrize("name", [*METRIC_NAMES[2:], "recall@1", "recall@5", "ndcg@10", "ndcg@999"])
def test_a_metric_is_found_by_its_name(name: str) -> None:
    assert metric_named(name).name == name


@pytest.mark.parametrize(
    "name", ["recall", "recall@0", "recall@05", "recall@1000", "recall@5 ", "ndcg@-1", "mrr@5", "Token_f1", ""]
)
def test_another_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no metric") as refused:
        metric_named(name)
    assert str(refused.value) == f"there is no metric {name!r}; there is: {', '.join(METRIC_NAMES)}"
    assert "recall@K, ndcg@K, token_f1" in str(refused.value)


# Measuring many


def test_a_value_has_its_interval_and_counts_what_failed() -> None:
    measured = measure(metric_named("token_recall"), [(1.0,), (0.0,), (0.5,), (1.0,)], n_errors=2)
    assert measured is not None
    assert (measured.metric, measured.value, measured.n, measured.n_errors) == ("token_recall", 0.625, 4, 2)
    assert 0 <= measured.low < 0.625 < measured.high <= 1


def test_a_metric_that_applies_to_nothing_has_no_value() -> None:
    assert measure(metric_named("recall@5"), []) is None
    assert measure(metric_named("recall@5"), [], n_errors=3) is None


def test_the_same_readings_give_the_same_interval() -> None:
    rows = [(0.2,), (0.9,), (0.4,)]
    metric = metric_named("groundedness")
    assert measure(metric, rows) == measure(metric, rows)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_no_value_is_ever_nan_or_out_of_range(pairs: list[tuple[bool, bool]]) -> None:
    rows = [(float(a), float(b)) for a, b in pairs]
    for name in ("abstention_precision", "abstention_recall", "abstention_f1"):
        measured = measure(metric_named(name), rows)
        assert measured is not None
        assert 0 <= measured.low <= measured.value <= measured.high <= 1

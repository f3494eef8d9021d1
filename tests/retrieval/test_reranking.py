"""The best hits in a new order: how scores are laid over each other, and who may be a reranker."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmops.clients.local_models import CrossEncoderReranker
from llmops.clients.rerankers import EndpointReranker
from llmops.errors import ConfigurationError, EndpointProtocolError
from llmops.records import Chunk
from llmops.retrieval import RetrievalSpec, open_reranker
from llmops.retrieval.fusion import Fused
from llmops.retrieval.lexical import LexicalReranker
from llmops.retrieval.reranking import followed, reranked, scores_of
from llmops.retrieval.spec import RerankSpec, plugged
from tests.retrieval.test_lexical import chunk

RANKED: Fused = [("a", 1.0), ("b", 0.8), ("c", 0.5), ("d", 0.4)]


def test_new_scores_decide() -> None:
    assert reranked(RANKED, [1.0, 3.0, 2.0, -7.0]) == [("b", 3.0), ("c", 2.0), ("a", 1.0), ("d", -7.0)]


def test_equal_scores_keep_their_order() -> None:
    assert [name for name, _ in reranked(RANKED, [0.0, 0.0, 1.0, 0.0])] == ["c", "a", "b", "d"]


def test_what_was_not_reranked_follows_with_lower_scores() -> None:
    found = reranked(RANKED, [-3.0, -2.0])
    assert [name for name, _ in found] == ["b", "a", "c", "d"]
    assert [score for _, score in found] == pytest.approx([-2.0, -3.0, -3.0, -3.1])


def test_new_and_old_scores_may_share() -> None:
    # Old: 1, 0.6 / 0.6 …: scaled 1, 2/3, 1/6, 0. New: scaled 0, 0, 0, 1.
    found = reranked(RANKED, [0.0, 0.0, 0.0, 9.0], weight=0.25)
    assert dict(found) == pytest.approx({"a": 0.75, "b": 0.5, "c": 0.125, "d": 0.25})
    assert [name for name, _ in found] == ["a", "b", "d", "c"]
    assert reranked(RANKED, [0.0, 0.0, 0.0, 9.0], weight=0)[0] == ("a", 1.0)


def test_nothing_to_rank() -> None:
    assert reranked([], []) == []
    assert reranked(RANKED, []) == RANKED
    assert followed([], RANKED) == RANKED
    assert followed(RANKED, []) == RANKED


@given(
    st.lists(st.floats(-100, 100), max_size=8).map(lambda scores: sorted(scores, reverse=True)),
    st.data(),
)
def test_nothing_is_lost_and_scores_never_rise(old: list[float], data: st.DataObject) -> None:
    ranked = [(str(i), score) for i, score in enumerate(old)]
    n = data.draw(st.integers(0, len(old)))
    new = data.draw(st.lists(st.floats(-100, 100), min_size=n, max_size=n))
    found = reranked(ranked, new, weight=data.draw(st.floats(0, 1)))
    assert sorted(name for name, _ in found) == sorted(name for name, _ in ranked)
    assert {name for name, _ in found[:n]} == {name for name, _ in ranked[:n]}
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)


class Gives:
    """A reranker that says this, whatever it is asked."""

    name = "gives"

    def __init__(self, said: Any) -> None:
        self.said = said

    def score(self, query: str, chunks: Sequence[Chunk]) -> Sequence[float]:
        assert query and chunks
        if isinstance(self.said, Exception):
            raise self.said
        return list(self.said)


CHUNKS = [chunk("one"), chunk("two")]


def test_a_reranker_that_keeps_its_promise() -> None:
    assert scores_of(Gives([1, 2.5]), "q", CHUNKS) == [1.0, 2.5]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ([1.0], "reranker 'gives' gave 1 scores for 2 passages"),
        ([1.0, float("nan")], "not all of them finite"),
        ([1.0, float("inf")], "not all of them finite"),
        (["x", "y"], "reranker 'gives' failed: ValueError"),
        (ZeroDivisionError("oops"), "reranker 'gives' failed: ZeroDivisionError: oops"),
    ],
)
def test_a_reranker_that_breaks_its_promise_is_told(said: Any, problem: str) -> None:
    with pytest.raises(EndpointProtocolError, match=problem):
        scores_of(Gives(said), "q", CHUNKS)


def rerank_spec(**section: Any) -> RerankSpec:
    wanted = RetrievalSpec.model_validate({"collection": "docs", "rerank": section}).rerank
    assert wanted is not None
    return wanted


def test_what_a_route_names_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "ce").mkdir(parents=True)
    (tmp_path / "models" / "ce" / "config.json").write_text("{}")
    (tmp_path / "serving").mkdir()
    assert isinstance(open_reranker(rerank_spec(type="lexical")), LexicalReranker)
    cross_encoder = rerank_spec(type="cross_encoder", model="../models/ce")
    assert isinstance(
        open_reranker(cross_encoder, file=str(tmp_path / "serving" / "a.yaml")), CrossEncoderReranker
    )
    monkeypatch.setenv("RERANK_KEY", "k")
    endpoint = rerank_spec(type="endpoint", url="http://127.0.0.1:9/rerank", model="m", api_key_env="RERANK_KEY")
    assert isinstance(open_reranker(endpoint), EndpointReranker)


def test_a_missing_key_or_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RERANK_KEY", raising=False)
    endpoint = rerank_spec(type="endpoint", url="http://127.0.0.1:9/rerank", model="m", api_key_env="RERANK_KEY")
    with pytest.raises(ConfigurationError, match="needs its key in the environment variable RERANK_KEY"):
        open_reranker(endpoint)
    with pytest.raises(ConfigurationError, match="no cross-encoder in 'nowhere'"):
        open_reranker(rerank_spec(type="cross_encoder", model="nowhere"))


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"type": "magic"}, "has no type 'magic'; there is: lexical, cross_encoder, endpoint"),
        ({}, "needs a type: one of lexical, cross_encoder, endpoint"),
        ({"type": "lexical", "model": "x"}, "Extra inputs are not permitted"),
        ({"type": "endpoint", "url": "ftp://x", "model": "m"}, "String should match pattern"),
        ({"type": "lexical", "top": 1}, "greater than or equal to 2"),
    ],
)
def test_a_wrong_section_is_told(section: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        rerank_spec(**section)


# Third parties

PLUGIN = """
class Longest:
    name = "longest"

    def __init__(self, sign):
        self.sign = sign

    def score(self, query, chunks):
        return [self.sign * len(chunk.text) for chunk in chunks]


def make(parameters):
    return Longest(parameters["sign"])
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    """A package that is installed as pip would: a module, and its metadata with an entry point."""
    (tmp_path / "longest_reranker.py").write_text(PLUGIN)
    info = tmp_path / "longest_reranker-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: longest-reranker\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[llmops.rerankers]\nlongest = longest_reranker:make\nbroken = longest_reranker:nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    plugged.cache_clear()
    yield {"sign": "parameters"}
    plugged.cache_clear()
    sys.modules.pop("longest_reranker", None)


@pytest.mark.usefixtures("plugin")
def test_another_package_brings_a_reranker() -> None:
    spec = rerank_spec(type="longest", parameters={"sign": -1}, top=5)
    assert spec.top == 5
    assert scores_of(open_reranker(spec), "q", [chunk("one"), chunk("three")]) == [-3.0, -5.0]


@pytest.mark.usefixtures("plugin")
def test_a_plugin_that_cannot_be_made_is_told() -> None:
    with pytest.raises(
        ConfigurationError, match="reranker 'longest' cannot be made: KeyError: 'sign'; look at re"
    ):
        open_reranker(rerank_spec(type="longest"))
    with pytest.raises(ConfigurationError, match="reranker 'broken' cannot be made: AttributeError"):
        open_reranker(rerank_spec(type="broken"))


def test_a_plugin_that_is_gone_is_told(plugin: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = rerank_spec(type="longest")
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="no installed package brings a reranker 'longest'; install it"):
        open_reranker(spec)

"""Values changed in place: comments and order stay, and what cannot be edited safely is not."""

from __future__ import annotations

import pytest

from llmops.config.edits import with_values
from llmops.errors import SpecError

ROUTE = """# The assistant.
name: assistant   # as users call it
retrieval:
  collection: docs  # of ingestion/docs.yaml
  fusion: dbsf      # until the labels say otherwise
  # deep enough
  candidates: 50

examples:
  - What is this?
"""


def test_values_change_where_they_stand() -> None:
    edited = with_values(ROUTE, "route.yaml", "retrieval", {"fusion": "rrf", "candidates": 80})
    assert edited == ROUTE.replace("fusion: dbsf ", "fusion: rrf ").replace("50", "80")


def test_new_fields_follow_the_last_one() -> None:
    edited = with_values(ROUTE, "route.yaml", "retrieval", {"fusion": "minmax", "dense_weight": 0.3})
    assert edited == ROUTE.replace("dbsf ", "minmax ").replace("50\n", "50\n  dense_weight: 0.3\n")


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("retrieval:\n    collection: docs", "retrieval:\n    collection: docs\n    rrf_k: 10"),
        (
            "retrieval:\r\n  collection: docs\r\nmodel: a\r\n",
            "retrieval:\r\n  collection: docs\r\n  rrf_k: 10\r\nmodel: a\r\n",
        ),
        (
            "retrieval:\n  collection: docs\n  filter:\n    lang: en\n",
            "retrieval:\n  collection: docs\n  rrf_k: 10\n  filter:\n    lang: en\n",
        ),
        (
            "retrieval:\n  rrf_k: 60 # sixty\n  collection: a\n",
            "retrieval:\n  rrf_k: 10 # sixty\n  collection: a\n",
        ),
    ],
    ids=["no line end", "lines of Windows", "before a nested field", "there already"],
)
def test_every_form_of_lines(text: str, edited: str) -> None:
    assert with_values(text, "route.yaml", "retrieval", {"rrf_k": 10}) == edited


@pytest.mark.parametrize(
    "text",
    [
        "retrieval: {collection: docs}\n",
        "retrieval:\n  fusion: &how dbsf\n",
        "name: assistant\n",
        "retrieval: docs\n",
        "base: &base\n  fusion: dbsf\nretrieval: *base\n",
        "base: &base {fusion: dbsf}\nretrieval:\n  <<: *base\n  k: 3\n",
    ],
    ids=["braces", "anchor", "missing", "no mapping", "alias", "merged"],
)
def test_what_is_not_safe_is_said_instead(text: str) -> None:
    said = "route.yaml: retrieval: cannot be edited safely here; write fusion: rrf, rrf_k: 10 under 'retrieval'"
    with pytest.raises(SpecError, match=said):
        with_values(text, "route.yaml", "retrieval", {"fusion": "rrf", "rrf_k": 10})

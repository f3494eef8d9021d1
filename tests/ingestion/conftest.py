from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops.clients.protocols import Embedder
from tests.ingestion.scripted import Trial, open_trial


@pytest.fixture
def trial(tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    """A pipeline over a scripted source, with nothing in it yet."""
    with open_trial(tmp_path, embedder, monkeypatch) as opened:
        yield opened

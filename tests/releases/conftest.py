from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops.clients.database import Database, open_database


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Database]:
    """A ledger of the embedded kind, where the kind makes no difference."""
    opened = open_database("", tmp_path / "ledger.sqlite3")
    yield opened
    opened.close()

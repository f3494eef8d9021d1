from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmops.settings import Settings
from llmops.workspace.ledger import Ledger
from tests.workspace.shelf import CLOSED, Shelf, make_shelf


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "encoder-graphs"


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Shelf:
    """The library before anything was measured or released; made once, and only copied."""
    return make_shelf(tmp_path_factory.mktemp("original") / "library", models)


@pytest.fixture
def shelf(original: Shelf, tmp_path: Path) -> Shelf:
    """A library of the test's own, without the vectors: the ledger does without."""
    without = shutil.ignore_patterns("vectors")
    root = Path(shutil.copytree(original.root, tmp_path / "library", symlinks=True, ignore=without))
    return Shelf(root=root, contents=original.contents)


@pytest.fixture
def whole(original: Shelf, tmp_path: Path) -> Shelf:
    """A library of the test's own that can answer."""
    # `cp` leaves the holes in Qdrant's files as holes: they are 350 MB of zeros.
    subprocess.run(["cp", "-a", str(original.root), str(tmp_path / "library")], check=True)
    return Shelf(root=tmp_path / "library", contents=original.contents)


@pytest.fixture
def reopen(shelf: Shelf) -> Iterator[Callable[..., Ledger]]:
    """Opens the ledger as another process would, with the files as they are now; closed when the test ends."""
    opened: list[Ledger] = []

    def reopened(root: Path | None = None, **settings: str) -> Ledger:
        opened.append(Ledger(root or shelf.root, Settings(**settings)))
        return opened[-1]

    yield reopened
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(reopen: Callable[..., Ledger]) -> Ledger:
    return reopen()


@pytest.fixture
def cut_off(reopen: Callable[..., Ledger]) -> Ledger:
    """The same ledger, whose MLflow cannot be reached."""
    return reopen(mlflow_tracking_uri=CLOSED)

"""Opening the ledger of a workspace, for commands that need no vectors and work beside a running gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmops.workspace.ledger import Ledger


@contextmanager
def open_ledger(root: Path) -> Iterator[Ledger]:
    """The ledger with its files and its registry.

    Raises:
        ConfigurationError: the folder is no workspace, or a file in it is wrong.
    """
    from llmops.settings import Settings
    from llmops.workspace.ledger import Ledger

    ledger = Ledger(root, Settings.from_environment())
    try:
        yield ledger
    finally:
        ledger.close()

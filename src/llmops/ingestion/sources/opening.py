"""From a `source:` section to a source that can be read; each kind is imported when it is first needed."""

from __future__ import annotations

from typing import assert_never

from llmops.clients.database import Database
from llmops.ingestion.sources.protocol import Source
from llmops.ingestion.sources.spec import FolderSource, PushSource
from llmops.ingestion.spec import IngestionSpec


def open_source(spec: IngestionSpec, database: Database) -> Source:
    """The source of a pipeline; close it after use.

    Raises:
        MissingExtraError: a package that this kind needs is not installed.
        ConfigurationError: it is set up wrongly.
    """
    match spec.source:
        case FolderSource():
            from llmops.ingestion.sources.folder import Folder

            return Folder(spec.source, spec.file)
        case PushSource():
            from llmops.ingestion.sources.push import Pushed

            return Pushed(spec.source, spec.name, database)
        case _:
            assert_never(spec.source)

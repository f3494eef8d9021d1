"""From a `source:` section to a source that can be read; each kind is imported when it is first needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import assert_never

from llmops.clients.database import Database
from llmops.ingestion.sources.protocol import Source
from llmops.ingestion.sources.spec import FolderSource, PushSource
from llmops.ingestion.sources.specs_api import (
    ConfluenceExportSource,
    ConfluenceSource,
    SharePointSource,
    SlackExportSource,
    SlackSource,
)
from llmops.ingestion.sources.specs_data import (
    GitSource,
    JsonLinesSource,
    LangChainSource,
    ObjectStoreSource,
    SqlSource,
    WebSource,
)
from llmops.ingestion.spec import IngestionSpec


def open_source(spec: IngestionSpec, database: Database, state: Path) -> Source:
    """The source of a pipeline; close it after use.

    Args:
        state: a folder where sources keep what they know between syncs, each below its pipeline's name.

    Raises:
        MissingExtraError: a package that this kind needs is not installed.
        ConfigurationError: it is set up wrongly, or a secret it needs is not in the environment.
    """
    match spec.source:
        case FolderSource():
            from llmops.ingestion.sources.folder import Folder

            return Folder(spec.source, spec.file)
        case PushSource():
            from llmops.ingestion.sources.push import Pushed

            return Pushed(spec.source, spec.name, database)
        case (
            ConfluenceSource()
            | ConfluenceExportSource()
            | SharePointSource()
            | SlackSource()
            | SlackExportSource()
        ):
            return _open_application(spec.source, spec.file)
        case GitSource():
            from llmops.ingestion.sources.git import GitRepository

            return GitRepository(spec.source, spec.file, state / spec.name)
        case WebSource():
            from llmops.ingestion.sources.web import WebSite

            return WebSite(spec.source, state / spec.name)
        case ObjectStoreSource():
            from llmops.ingestion.sources.object_store import ObjectStore

            return ObjectStore(spec.source)
        case SqlSource():
            from llmops.ingestion.sources.sql import SqlQuery

            return SqlQuery(spec.source)
        case JsonLinesSource():
            from llmops.ingestion.sources.jsonl import JsonLines

            return JsonLines(spec.source, spec.file)
        case LangChainSource():
            from llmops.ingestion.sources.langchain_loader import LangChainDocuments

            return LangChainDocuments(spec.source, spec.file)
        case _:
            assert_never(spec.source)


def _open_application(
    source: ConfluenceSource | ConfluenceExportSource | SharePointSource | SlackSource | SlackExportSource,
    file: str,
) -> Source:
    match source:
        case ConfluenceSource():
            from llmops.ingestion.sources.confluence import open_confluence

            return open_confluence(source, os.environ)
        case ConfluenceExportSource():
            from llmops.ingestion.sources.confluence_export import open_confluence_export

            return open_confluence_export(source, file)
        case SharePointSource():
            from llmops.ingestion.sources.graph import open_sharepoint

            return open_sharepoint(source, os.environ)
        case SlackSource():
            from llmops.ingestion.sources.slack import open_slack

            return open_slack(source, os.environ)
        case SlackExportSource():
            from llmops.ingestion.sources.slack_export import open_slack_export

            return open_slack_export(source, file)
        case _:
            assert_never(source)

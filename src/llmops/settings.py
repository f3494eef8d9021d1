"""What the environment says: one variable moves one part out of the workspace, no other line changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """`LLMOPS_*` variables, named after the fields in upper case. Empty means the embedded default.

    Attributes:
        database_url: SQLAlchemy URL of the ledger; default SQLite in `.llmops/ledger.sqlite3`.
        qdrant_url: address of a Qdrant server; default Qdrant Edge in `.llmops/vectors/`.
        qdrant_api_key: its key.
        trace_key: Fernet key (44 characters) for `content: encrypted`; default a file in `.llmops/`.
        chat_url: base URL of an OpenAI-compatible endpoint that answers instead of the extractive model.
        chat_model: what that endpoint calls its model.
        chat_api_key: its key, or "".
        mlflow_tracking_uri: MLflow's own `MLFLOW_TRACKING_URI`; default SQLite and a folder in `.llmops/`.
        threads: processor cores the encoder may use; default all that this process may run on.
    """

    database_url: str = ""
    qdrant_url: str = ""
    qdrant_api_key: str = ""
    trace_key: str = ""
    chat_url: str = ""
    chat_model: str = ""
    chat_api_key: str = ""
    mlflow_tracking_uri: str = ""
    threads: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        env = os.environ if environment is None else environment
        return cls(**{f.name: env.get(_variable(f.name), "") for f in fields(cls)})

    @property
    def n_threads(self) -> int:
        """Cores for the encoder: `LLMOPS_THREADS`, or as many as this process may use."""
        if self.threads.isdecimal() and int(self.threads) > 0:
            return int(self.threads)
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _variable(field: str) -> str:
    return field.upper() if field.startswith("mlflow_") else f"LLMOPS_{field.upper()}"


STATE_DIRECTORY = ".llmops"


def state_directory(workspace: Path) -> Path:
    """Where a workspace keeps its state; ignored by git, removable, rebuilt by `llmops ingest`."""
    return workspace / STATE_DIRECTORY

"""Opening a registry: quietly, at MLflow's newest schema, and in seconds where nobody answers."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

from llmops.clients.mlflow.failures import translated
from llmops.clients.mlflow.place import Place, find_place
from llmops.clients.mlflow.registry import Registry
from llmops.errors import MissingExtraError

# MLflow reads its settings from the environment at every call; what the user has set stays.
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Its own values wait for minutes. One retry, at once, is for a kept connection that the server has closed.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
_KNOCK_TIMEOUT_S = 3


def open_registry(uri: str, state: Path) -> Registry:
    """The registry at the tracking URI `uri`, or the embedded one in the folder `state` where it is empty.

    The embedded one is brought to the installed MLflow's schema; a database of others is never changed, except
    that MLflow makes its tables in an empty one. Artifacts go to `state` unless a server keeps them.

    Raises:
        MissingExtraError: MLflow or the database's driver is not installed.
        ConfigurationError: the URI cannot be used, or the database's schema is not the installed MLflow's.
        StorageError: nobody answers there, or the file cannot be read or written.
    """
    place = find_place(uri, state)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        _quiet(logging.getLogger(name))
    try:
        from mlflow import MlflowClient
    except ModuleNotFoundError as exc:
        if exc.name != "mlflow":
            raise
        raise MissingExtraError("mlflow", "registry") from exc
    if place.kind == "server":
        with translated(place):
            _knock(place)
            return Registry(MlflowClient(place.uri, place.uri), place)
    from llmops.clients.mlflow.database import open_stores

    with warnings.catch_warnings():
        # SQLAlchemy 2.1 deprecates a loader of MLflow's tables when they are first used.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            with translated(place):
                stores = open_stores(place)
        except ModuleNotFoundError as exc:
            if exc.name != "psycopg":
                raise
            raise MissingExtraError("psycopg", "serve") from exc
        return Registry(MlflowClient(place.uri, place.uri), place, stores)


def _quiet(logger: logging.Logger) -> None:
    """Nothing on standard error where the application has not set up logging; no chatter where it has."""
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)


def _knock(place: Place) -> None:
    """Any answer will do; credentials and requests are tried by the first real call."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    ask: Any = http_request
    credentials: Any = get_default_host_creds
    ask(
        credentials(place.uri),
        "/health",
        "GET",
        max_retries=1,
        timeout=_KNOCK_TIMEOUT_S,
        raise_on_status=False,
    )

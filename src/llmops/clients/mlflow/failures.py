"""What MLflow, its database or the way to its server say when something is wrong, as one of our errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from llmops.clients.mlflow.place import Place
from llmops.errors import (
    BusyError,
    ConfigurationError,
    LlmopsError,
    NotFoundError,
    RequestError,
    StorageError,
)

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

_MAX_SAID = 300
_SECRETS = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_REASON = re.compile("Connection refused|timed out|Name or service not known|[Nn]ame resolution")
_STATUS = re.compile(r"too many (\d{3}) error")


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Around every call of MLflow: its errors, those of SQLAlchemy and of requests become ours."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, SQLAlchemyError, UnicodeError, OSError) as exc:  # errors of requests are OSErrors
        # MLflow quotes the whole address in its messages: with a password in it nothing of them may be printed.
        raise _explained(exc, place) from (None if place.secrets else exc)


def _explained(error: Exception, place: Place) -> LlmopsError:
    from mlflow.exceptions import MlflowException
    from requests.exceptions import HTTPError, RequestException, RetryError

    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, UnicodeError):
            return RequestError(f"what was asked of the MLflow registry is not text ({cause}); mend it")
        if isinstance(cause, HTTPError) and cause.response is not None:
            return _answered(place, cause.response.status_code, cause.response.text)
        if isinstance(cause, RetryError) and (found := _STATUS.search(str(cause))):
            return _answered(place, int(found[1]), "")
        if isinstance(cause, RequestException):
            return unreachable(place, str(cause))
        if isinstance(cause, SQLAlchemyError):
            return _database(place, cause)
    if isinstance(error, MlflowException):
        return _refused(error, place)
    said = getattr(error, "strerror", None) or str(error)
    file = getattr(error, "filename", None) or place.shown
    return StorageError(f"{str(file)!r} cannot be used ({said}): check the disk and the folder's permissions")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it; MLflow raises some errors beside their cause instead of from it."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def unreachable(place: Place, said: str) -> StorageError:
    found = _REASON.search(said)
    reason = found[0].lower() if found else _short(place, said)
    problem = f"the MLflow registry at {place.shown!r} cannot be reached ({reason})"
    return StorageError(f"{problem}; is it running, and is MLFLOW_TRACKING_URI right?")


def _answered(place: Place, status: int, said: str) -> LlmopsError:
    said = f"status {status}: {_short(place, said)}" if said.strip() else f"status {status}"
    if status in (401, 403):
        return _unauthorized(place, said)
    if status == 429:
        return BusyError(f"the MLflow registry at {place.shown!r} is over its limit ({said}); try again")
    return StorageError(f"the MLflow registry at {place.shown!r} failed ({said}); see its log")


def _unauthorized(place: Place, said: str) -> ConfigurationError:
    return ConfigurationError(f"the MLflow registry at {place.shown!r} does not permit this ({said}); {_SECRETS}")


def _database(place: Place, error: SQLAlchemyError) -> StorageError:
    said = _short(place, str(error.orig if isinstance(error, DBAPIError) and error.orig else error))
    if place.file is None and re.search("connect|resolve", said, re.IGNORECASE):
        return unreachable(place, said)
    cures = {
        "readonly": "make the file and its folder writable",
        "unable to open": "check that its folder exists and is writable",
        "is full": "free some disk space",
        "disk i/o": "check the disk and its free space",
        "malformed": "restore the file from a backup",
        "not a database": "restore the file from a backup, or move it away",
        "locked": "another process holds it; try again",
    }
    cure = next((cure for word, cure in cures.items() if word in said.lower()), "see the database's log")
    return StorageError(f"the MLflow registry {place.shown!r} failed ({said}); {cure}")


def _refused(error: MlflowException, place: Place) -> LlmopsError:
    from mlflow.exceptions import RestException

    code, said = error.error_code, _short(place, error.message)
    if code in ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
        return _unauthorized(place, said)
    if code in ("REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"):
        return BusyError(f"the MLflow registry at {place.shown!r} is over its limit ({said}); try again")
    answered = isinstance(error, RestException) or place.kind != "server"
    if not answered and (code == "ENDPOINT_NOT_FOUND" or "valid JSON" in error.message):
        return StorageError(f"{place.shown!r} does not answer like MLflow; is MLFLOW_TRACKING_URI right?")
    if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
        return NotFoundError(f"the MLflow registry has no such thing ({said}); check its name")
    if code in ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
        return RequestError(f"the MLflow registry does not take this ({said}); mend it")
    return StorageError(f"the MLflow registry {place.shown!r} failed ({said}); see its log")


def _short(place: Place, text: str) -> str:
    """The first line without secrets, of a quoted answer its body unless that is a page."""
    said, _, body = place.scrubbed(text).strip().partition("Response body: ")
    line = body.strip("'") if body.strip("'") and "<" not in body else said
    line = " ".join((line.splitlines() or ["no reason given"])[0].split())
    return re.sub(r"^[A-Z_]+: ", "", line).rstrip(".")[:_MAX_SAID]  # a server repeats its error code in front

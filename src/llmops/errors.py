"""Every error llmops raises, in one tree.

    LlmopsError                    anything we say on purpose; `exit_code` is the CLI's
    ├── ConfigurationError         the user can mend it in a file, a flag or an install   exit 2
    │   ├── SpecError              a committed file is wrong: names file, line, field and cure
    │   ├── MissingExtraError      a package of an optional extra is not installed
    │   ├── WorkspaceBusyError     another process owns the workspace
    │   └── CollectionShapeError   a spec no longer fits the collection it built
    ├── RequestError               what a caller sent cannot be served                    exit 2
    │   ├── NotFoundError          the route, collection, inference or file does not exist
    │   ├── TooLargeError          a body, query or file is over its limit
    │   ├── UnauthenticatedError   no key, or not a valid one
    │   ├── ForbiddenError         a valid key without the right
    │   └── BusyError              a limit is reached; try again
    ├── EndpointError              a model endpoint failed                                exit 3
    │   ├── EndpointUnreachableError
    │   ├── EndpointTimeoutError
    │   ├── EndpointProtocolError  it answered nonsense or cut a stream
    │   └── EndpointRejectedError  it refused the request: carries its status and message
    ├── PromotionRefusedError      no passing verdict for exactly this content            exit 1
    ├── StorageError               vectors, ledger or registry cannot be read or written  exit 3
    ├── SourceError                a source of documents is away or refuses us; a sync goes on later
    │   └── SourceDeniedError      it refuses our credentials
    └── DocumentError              one document cannot be read; recorded, and the run goes on
        ├── EmptyDocumentError     it can be read, and there is nothing in it
        ├── DocumentGoneError      its source has it no more
        └── DocumentRefusedError   the pipeline's policy refuses it (secrets, personal data)

A message says what happened, shows the offending value with `!r`, and says what to do.
HTTP statuses are mapped in `llmops.gateway.errors` and nowhere else.
"""

from __future__ import annotations

from typing import ClassVar


class LlmopsError(Exception):
    """Base of all errors raised on purpose; `str(error)` is one sentence fit for a user."""

    exit_code: ClassVar[int] = 3


class ConfigurationError(LlmopsError):
    exit_code = 2


class SpecError(ConfigurationError):
    """A committed file is wrong.

    Args:
        file: path as the user would type it.
        problem: what is wrong and what would be right.
        line: 1-based line in the file, where known.
        field: dotted path of the field, where known.
    """

    def __init__(self, file: str, problem: str, *, line: int | None = None, field: str | None = None) -> None:
        self.file, self.problem, self.line, self.field = file, problem, line, field
        place = f"{file}:{line}" if line is not None else file
        super().__init__(f"{place}: {field}: {problem}" if field else f"{place}: {problem}")


class MissingExtraError(ConfigurationError):
    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package!r} is not installed: run pip install 'llmops[{extra}]'")


class WorkspaceBusyError(ConfigurationError):
    pass


class CollectionShapeError(ConfigurationError):
    pass


class RequestError(LlmopsError):
    exit_code = 2


class NotFoundError(RequestError):
    pass


class TooLargeError(RequestError):
    pass


class UnauthenticatedError(RequestError):
    pass


class ForbiddenError(RequestError):
    pass


class BusyError(RequestError):
    exit_code = 3


class EndpointError(LlmopsError):
    """A model endpoint failed; `endpoint` is its name in `serving/models.yaml`."""

    def __init__(self, message: str, *, endpoint: str) -> None:
        self.endpoint = endpoint
        super().__init__(message)


class EndpointUnreachableError(EndpointError):
    pass


class EndpointTimeoutError(EndpointError):
    pass


class EndpointProtocolError(EndpointError):
    pass


class EndpointRejectedError(EndpointError):
    """The endpoint answered with an error of its own.

    Args:
        status: the HTTP status it sent.
        retry_after: its `Retry-After` header, passed on to our caller.
    """

    def __init__(self, message: str, *, endpoint: str, status: int, retry_after: str | None = None) -> None:
        self.status, self.retry_after = status, retry_after
        super().__init__(message, endpoint=endpoint)


class PromotionRefusedError(LlmopsError):
    """A release without a passing verdict for exactly its content."""

    exit_code = 1


class StorageError(LlmopsError):
    pass


class SourceError(LlmopsError):
    """A source of documents cannot be listed or read now; what was ingested stays."""


class SourceDeniedError(SourceError):
    """A source refuses our credentials."""


class DocumentError(LlmopsError):
    """One document cannot be read; the reason is recorded in the ledger."""


class EmptyDocumentError(DocumentError):
    """There is no text in a document that can be read."""


class DocumentGoneError(DocumentError):
    """Its source has the document no more."""


class DocumentExpiredError(DocumentError):
    """The document's date has come; nothing of it is kept."""


class DocumentRefusedError(DocumentError):
    """The pipeline's policy refuses the document; the reason is recorded and nothing of it is stored."""

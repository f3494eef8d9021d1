"""Any LangChain document loader as a source. The only module of sources that imports LangChain."""

from __future__ import annotations

import importlib
import os
import sqlite3
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from llmops.errors import (
    ConfigurationError,
    DocumentError,
    DocumentGoneError,
    LlmopsError,
    MissingExtraError,
    SourceError,
)
from llmops.ingestion.sources.environment import secret
from llmops.ingestion.sources.protocol import Checkpoint, Fetched, Item, Page
from llmops.ingestion.sources.rows import NamesSeen, digest_of, metadata_of, name_of, principals_of, too_large
from llmops.ingestion.sources.specs_data import LangChainSource

if TYPE_CHECKING:
    from langchain_core.document_loaders import BaseLoader
    from langchain_core.documents import Document

_PAGE = 200
_HERE = "{here}"
_KEPT_OUT = ("source",)  # it is the document's name already


class LangChainDocuments:
    """What a loader yields, loaded lazily and one page at a time.

    A loader can neither say what changed nor load one document, so that each sync loads all. The texts are kept in
    a temporary database of this process until the source is closed; a process that is asked for a document without
    having listed it loads all once.

    A document is named by `id_key`, else by its own id, else by its metadata's `source`, with a running number
    from the second document of one source on.

    Args:
        spec_file: the pipeline's file; `{here}` in an argument is its folder.

    Raises:
        MissingExtraError: langchain-core is not installed.
        ConfigurationError: there is no such loader, it does not take these arguments, or a secret is not set.
    """

    def __init__(self, spec: LangChainSource, spec_file: str, environment: Mapping[str, str] = os.environ) -> None:
        self._spec = spec
        self._folder = str(Path(spec_file).resolve().parent)
        self._secrets = {
            name: secret(environment, where, f"argument {name!r} of {spec.loader}")
            for name, where in spec.secrets.items()
        }
        self._class = _loader_class(spec.loader)
        self._loader()  # wrong arguments are said before anything is listed
        self._texts = _Texts()
        self._loading = threading.Lock()

    def pages(self, checkpoint: Checkpoint | None, since: Checkpoint | None) -> Iterator[Page]:  # noqa: ARG002 (a loader begins at its beginning)
        """All documents. There is no checkpoint: a loader cannot go on in the middle.

        Raises:
            SourceError: the loader failed.
        """
        items: list[Item] = []
        problems: list[str] = []
        for found in self._listed():
            if isinstance(found, str):
                problems.append(found)
            else:
                items.append(found)
            if len(items) == _PAGE:
                yield Page(items=tuple(items), problems=tuple(problems))
                items, problems = [], []
        yield Page(items=tuple(items), problems=tuple(problems))

    def fetch(self, item: Item, *, max_bytes: int) -> Fetched:
        """A document's text as it was loaded last.

        Raises:
            DocumentError: it is too large.
            DocumentGoneError: the loader does not yield it any more.
            SourceError: the loader failed.
        """
        with self._loading:
            if not self._texts.is_complete and self._texts.get(item.uri) is None:
                for _ in self._listed():
                    pass
        found = self._texts.get(item.uri)
        if found is None:
            raise DocumentGoneError("the loader does not yield it any more")
        version, raw = found
        if len(raw) > max_bytes:
            raise DocumentError(too_large(len(raw), max_bytes))
        return Fetched(raw=raw, version=version)

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """None: a loader knows nobody."""
        return {}

    def close(self) -> None:
        """Drop the texts."""
        self._texts.close()

    def _listed(self) -> Iterator[Item | str]:
        """Documents, and what is wrong with some; their texts are kept."""
        seen = NamesSeen()
        self._texts.begin()
        try:
            for number, document in enumerate(self._loaded(), start=1):
                try:
                    yield self._item(document, seen)
                except ValueError as error:
                    yield f"document {number} of {self._spec.loader}: {error}"
            self._texts.end()
        finally:
            seen.close()

    def _loaded(self) -> Iterator[Document]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", DeprecationWarning
                )  # of the loader's package, not for the operator
                yield from self._loader().lazy_load()
        except LlmopsError:
            raise
        except ImportError as error:
            raise ConfigurationError(f"{self._spec.loader} needs a package: {error}") from error
        except Exception as error:  # each loader has exceptions of its own
            said = " ".join(str(error).split())[:300]
            raise SourceError(
                f"{self._spec.loader} failed: {type(error).__name__}: {self._masked(said)}"
            ) from error

    def _loader(self) -> BaseLoader:
        arguments = {**_with_folder(self._spec.arguments, self._folder), **self._secrets}
        try:
            return self._class(**arguments)
        except ImportError as error:
            raise ConfigurationError(f"{self._spec.loader} needs a package: {error}") from error
        except Exception as error:  # pydantic's, or the loader's own
            said = self._masked(" ".join(str(error).split())[:300])
            problem = f"{self._spec.loader} cannot be made: {type(error).__name__}: {said}"
            raise ConfigurationError(f"{problem}; mend source.arguments") from error

    def _masked(self, text: str) -> str:
        for value in self._secrets.values():
            text = text.replace(value, "…")
        return text

    def _item(self, document: Document, seen: NamesSeen) -> Item:
        """The document, kept under its name.

        Raises:
            ValueError: it has no name, or another document has it.
        """
        spec, metadata = self._spec, document.metadata
        if not isinstance(document.page_content, str):
            raise ValueError("its page_content is no text")
        uri = self._name(document, seen)
        raw = document.page_content.encode("utf-8", "replace")
        acl = tuple(sorted(spec.acl)) if spec.acl else principals_of(metadata.get(spec.acl_key or ""))
        left_out = (*_KEPT_OUT, spec.acl_key, spec.title_key)
        about = metadata_of((str(key), value) for key, value in metadata.items() if key not in left_out)
        title, source = str(metadata.get(spec.title_key) or ""), str(metadata.get("source") or "")
        version = digest_of(raw + orjson.dumps([title, about], default=str, option=orjson.OPT_SORT_KEYS))
        self._texts.put(uri, version, raw)
        return Item(
            uri=uri,
            version=version,
            acl=acl,
            n_bytes=len(raw),
            title=title,
            url=source if source.startswith(("http://", "https://")) else "",
            media_type=spec.media_type,
            metadata={**about, **spec.metadata},
        )

    def _name(self, document: Document, seen: NamesSeen) -> str:
        if self._spec.id_key is not None:
            name = name_of(document.metadata.get(self._spec.id_key))
        elif document.id:
            name = name_of(document.id)
        else:
            source = str(document.metadata.get("source") or self._spec.loader.rpartition(".")[2])
            name = name_of(source.removeprefix(f"{self._folder}/"))
            number = seen.count(name)
            return name if number == 1 else f"{name}#{number}"
        if seen.count(name) > 1:
            raise ValueError(f"another document has its name {name!r}")
        return name


class _Texts:
    """Texts by name, in a temporary database that ends with the process. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_complete = False
        self._round = 0
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE texts (name TEXT PRIMARY KEY, version TEXT, raw BLOB, round INTEGER)")

    def begin(self) -> None:
        """A new round of loading; what it does not bring again is dropped when it ends."""
        with self._lock:
            self._round += 1
            self.is_complete = False

    def end(self) -> None:
        """The loader has yielded all it has."""
        with self._lock:
            self._database.execute("DELETE FROM texts WHERE round < ?", (self._round,))
            self.is_complete = True

    def put(self, name: str, version: str, raw: bytes) -> None:
        """Keep a text."""
        with self._lock:
            values = (name, version, raw, self._round)
            self._database.execute("INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?)", values)

    def get(self, name: str) -> tuple[str, bytes] | None:
        """A text with its version."""
        with self._lock:
            found = self._database.execute("SELECT version, raw FROM texts WHERE name = ?", (name,)).fetchone()
        return (str(found[0]), bytes(found[1])) if found else None

    def close(self) -> None:
        """Drop all."""
        with self._lock:
            self._database.close()


def _loader_class(path: str) -> type[BaseLoader]:
    try:
        from langchain_core.document_loaders import BaseLoader
    except ImportError as error:
        raise MissingExtraError("langchain-core", "langchain") from error
    module, _, name = path.rpartition(".")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the loader's package, not for the operator
            found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ConfigurationError(
            f"{module!r} cannot be imported: {error}; install the loader's package"
        ) from error
    if not (isinstance(found, type) and issubclass(found, BaseLoader)):
        raise ConfigurationError(f"{path!r} is no LangChain document loader (a subclass of BaseLoader)")
    return found


def _with_folder(value: Any, folder: str) -> Any:
    """`{here}` in texts, however deep, as the folder of the pipeline's file."""
    if isinstance(value, str):
        return value.replace(_HERE, folder)
    if isinstance(value, Mapping):
        return {key: _with_folder(one, folder) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_with_folder(one, folder) for one in value]
    return value

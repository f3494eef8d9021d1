"""The folder of an embedded store: one shard of Qdrant Edge a collection, opened at its first use.

What a killed process leaves behind: the write-ahead log keeps every acknowledged point; a collection is
made and removed under a name that no collection can have, so that it is whole or not there.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import qdrant_edge as edge

from llmops.clients.protocols import StoreSettings
from llmops.clients.vectors import ownership
from llmops.clients.vectors.edge_errors import ROOM_TO_OPEN, ROOM_TO_WRITE, check_room, explained, is_panic
from llmops.clients.vectors.edge_settings import index_operations, shard_config
from llmops.clients.vectors.names import TENANT, check_collection, is_collection, unknown_collection
from llmops.errors import ConfigurationError, LlmopsError, NotFoundError, StorageError

_MAKING, _REMOVING = ".making-", ".removing-"
_ABOUT = "collection.json"


class EdgeShards:
    """Shards in a folder that this process owns until `close`.

    Raises:
        WorkspaceBusyError: another process owns `directory`.
        StorageError: `directory` cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: dict[str, edge.EdgeShard] = {}
        self._knows_tenants: dict[str, bool] = {}
        self._lock = threading.RLock()
        self.writing = threading.RLock()
        self._rewriting = threading.Lock()
        self._journals: dict[str, list[edge.UpdateOperation]] = {}
        self._closed = False
        self._ownership = ownership.take(directory)
        self._clear_up()

    def _clear_up(self) -> None:
        """What a killed process was making or removing goes; a shard whose place was taken by none comes back."""
        for removing in self.directory.glob(f"{_REMOVING}*"):
            collection = removing.name.removeprefix(_REMOVING)
            making = self.directory / f"{_MAKING}{collection}"
            if not self._folder(collection).exists() and making.exists():
                removing.rename(self._folder(collection))  # killed while it was rewritten
            else:
                shutil.rmtree(removing, ignore_errors=True)
        for making in self.directory.glob(f"{_MAKING}*"):
            shutil.rmtree(making, ignore_errors=True)

    def names(self) -> list[str]:
        """Collections, in order of their names."""
        self._check_open()
        return sorted(p.name for p in self.directory.iterdir() if is_collection(p.name) and p.is_dir())

    def get(self, collection: str) -> edge.EdgeShard:
        """The shard, opened now if this is its first use.

        Raises:
            NotFoundError: there is no such collection.
            StorageError: it is damaged, the disk is full, or the store was closed.
        """
        self._check_open()
        shard = self._open.get(collection)
        if shard is not None:
            return shard
        check_collection(collection)
        with self._lock, self.calling(collection):
            self._check_open()
            if collection not in self._open:
                if not self._folder(collection).is_dir():
                    raise NotFoundError(unknown_collection(collection, self.names()))
                check_room(self.directory, ROOM_TO_OPEN)
                shard = edge.EdgeShard.load(str(self._folder(collection)))
                self._knows_tenants[collection] = TENANT in shard.info().payload_schema
                self._open[collection] = shard
            return self._open[collection]

    def knows_tenants(self, collection: str) -> bool:
        """Whether every point of an opened collection says its tenant: not those made by llmops 0.1."""
        return self._knows_tenants[collection]

    def create(
        self, collection: str, *, dimension: int, metadata: Mapping[str, Any], settings: StoreSettings
    ) -> None:
        """Make an empty shard; `metadata` is laid into its folder for people to read."""
        check_collection(collection)
        config, indexes = shard_config(dimension, settings), index_operations(settings)
        with self._lock, self.calling(collection):
            self._check_open()
            check_room(self.directory, ROOM_TO_WRITE)
            if self._folder(collection).exists():
                raise ConfigurationError(f"collection {collection!r} exists already: drop it first")
            making = self.directory / f"{_MAKING}{collection}"
            if making.exists():
                shutil.rmtree(making)
            shard = edge.EdgeShard.create(str(making), config)
            try:
                for index in indexes:
                    shard.update(index)
                shard.flush()
            finally:
                shard.close()
            about = {"dimension": dimension, "metadata": dict(metadata), "settings": asdict(settings)}
            (making / _ABOUT).write_bytes(orjson.dumps(about, default=str, option=orjson.OPT_INDENT_2))
            making.rename(self._folder(collection))

    def drop(self, collection: str) -> None:
        """Remove a shard, damaged or not; one that is not there is no error."""
        check_collection(collection)
        with self._lock, self.calling(collection):
            self._check_open()
            shard = self._open.pop(collection, None)
            if shard is not None:
                shard.close()
            if not self._folder(collection).exists():
                return
            removing = self.directory / f"{_REMOVING}{collection}"
            if removing.exists():
                shutil.rmtree(removing)
            self._folder(collection).rename(removing)
            shutil.rmtree(removing)

    def rewrite(self, collection: str, copy: Callable[[edge.EdgeShard, edge.EdgeShard], None]) -> None:
        """Put a fresh shard with the same points in a shard's place; searches and writes go on meanwhile.

        Deleted points stay in an engine's files until these are written anew. What is written while `copy` works
        is remembered, and done to the fresh shard before it takes the place.

        Args:
            copy: fills the second shard from the first.
        """
        with self._rewriting, self.calling(collection):
            with self.writing:
                old = self.get(collection)
                self._journals[collection] = []
            about = orjson.loads((self._folder(collection) / _ABOUT).read_bytes())
            settings = StoreSettings(**about.get("settings", {}))
            check_room(self.directory, ROOM_TO_WRITE + _size_of(self._folder(collection)))
            making = self.directory / f"{_MAKING}{collection}"
            if making.exists():
                shutil.rmtree(making)
            fresh = edge.EdgeShard.create(str(making), shard_config(about["dimension"], settings))
            try:
                for index in index_operations(settings):
                    fresh.update(index)
                copy(old, fresh)
                with self.writing, self._lock:
                    for operation in self._journals[collection]:
                        fresh.update(operation)
                    fresh.flush()
                    fresh.close()
                    (making / _ABOUT).write_bytes(orjson.dumps(about, option=orjson.OPT_INDENT_2))
                    self._take_place(collection, making)
            finally:
                self._journals.pop(collection, None)
                if collection not in self._open or making.exists():
                    fresh.close()
                shutil.rmtree(making, ignore_errors=True)  # else a drop that is killed later would be undone

    def _take_place(self, collection: str, making: Path) -> None:
        """Killed between the two renames, the old shard gets its name back at the next start."""
        removing = self.directory / f"{_REMOVING}{collection}"
        if removing.exists():
            shutil.rmtree(removing)
        self._folder(collection).rename(removing)
        making.rename(self._folder(collection))
        del self._open[collection]  # who searches it now keeps it until done
        self.get(collection)
        shutil.rmtree(removing)

    def update(self, collection: str, operation: edge.UpdateOperation) -> None:
        """Write to a shard, and to the one that is being made to take its place."""
        with self.writing:
            self.get(collection).update(operation)
            if collection in self._journals:
                self._journals[collection].append(operation)

    def flush(self) -> None:
        """Make all writes durable against power loss."""
        self._check_open()
        with self._lock:
            for collection, shard in self._open.items():
                with self.calling(collection):
                    shard.flush()

    def close(self) -> None:
        """Flush, and give the folder back; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                for collection, shard in self._open.items():
                    with self.calling(collection):
                        shard.flush()
                        shard.close()
            finally:
                self._open.clear()
                self._ownership.close()

    @contextmanager
    def calling(self, collection: str) -> Iterator[None]:
        """Around every call of the engine: its errors become ours."""
        try:
            yield
        except LlmopsError:
            raise
        # Edge raises bare Exception for everything
        except Exception as exc:
            raise self._explained(collection, exc) from exc
        except BaseException as exc:
            if is_panic(exc):
                raise self._explained(collection, exc) from exc
            raise

    def _explained(self, collection: str, exc: BaseException) -> LlmopsError:
        if "Shard is not initialized" not in str(exc):
            return explained(collection, self.directory, exc)
        # another thread closed or dropped it between our look-up and our call
        return (
            self._closed_error() if self._closed else NotFoundError(unknown_collection(collection, self.names()))
        )

    def _folder(self, collection: str) -> Path:
        return self.directory / collection

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> StorageError:
        return StorageError(f"the vector store in {str(self.directory)!r} is closed: open it again")


def _size_of(folder: Path) -> int:
    """Bytes on disk; holes in files take none."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())

"""The door to fsspec: any store that it opens, walked in the order of names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from llmops.errors import (
    ConfigurationError,
    DocumentError,
    DocumentGoneError,
    LlmopsError,
    MissingExtraError,
    SourceDeniedError,
    SourceError,
)
from llmops.ingestion.sources.object_store import Batch, StoredObject
from llmops.ingestion.sources.rows import digest_of, too_large
from llmops.ingestion.sources.specs_data import ObjectStoreSource

_BATCH = 1_000
_MAX_DEPTH = 100
_DIGESTS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "generation",
    "versionId",
    "version_id",
    "checksum",
    "crc32c",
)
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified")
_BIRTHS = ("created", "ino")  # of a local file: its ctime, which no program can set back


class FsspecStore:
    """Objects below an address. A directory's listing is held in memory, one at a time.

    Raises:
        MissingExtraError: fsspec is not installed.
        ConfigurationError: the store's own package is not installed, or its options are wrong.
    """

    def __init__(self, spec: ObjectStoreSource) -> None:
        try:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # it has no types
        except ImportError as error:
            raise MissingExtraError("fsspec", "sources") from error
        options = {**spec.options, "skip_instance_cache": True, "use_listings_cache": False}
        try:
            self._files, root = url_to_fs(spec.url, **options)
        except (ImportError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"{spec.url!r} cannot be opened: {error}; mend source.url or options"
            ) from error
        self._url, self._root = spec.url, str(root).rstrip("/")

    def batches(self, after: str) -> Iterator[Batch]:
        """Files below the root; directory by directory, and within each by name."""
        self._files.invalidate_cache()
        with self._said(is_root=True):
            if not self._files.exists(self._root):
                raise SourceError(
                    f"there is nothing at {self._url!r} any more; mend source.url or try again later"
                )
        objects: list[StoredObject] = []
        problems: list[str] = []
        for found in self._walk(tuple(after.split("/")) if after else ()):
            if isinstance(found, str):
                problems.append(found)
            else:
                objects.append(found)
            if len(objects) == _BATCH:
                yield Batch(objects=tuple(objects), problems=tuple(problems), after=objects[-1].name)
                after, objects, problems = objects[-1].name, [], []
        after = objects[-1].name if objects else after
        yield Batch(objects=tuple(objects), problems=tuple(problems), after=after)

    def read(self, name: str, max_bytes: int) -> tuple[bytes, str]:
        """An object's bytes, once its size is known to be within the limit; in the version it had just before."""
        path = f"{self._root}/{name}"
        with self._said(is_root=False):
            # As a list of one: stores describe an object in other words when it is asked for alone.
            info = next((one for one in self._files.ls(path, detail=True) if self._name(one) == name), None)
            if info is None or info.get("type") != "file" or info.get("islink"):
                raise DocumentGoneError("is no file any more")
            if (info.get("size") or 0) > max_bytes:
                raise DocumentError(too_large(info["size"], max_bytes))
            raw = self._files.cat_file(path, start=0, end=max_bytes + 1)
            if len(raw) > max_bytes:
                raise DocumentError(too_large(len(raw), max_bytes))
            return raw, _version(info)

    def close(self) -> None:
        """Nothing is held open."""

    def _walk(self, after: tuple[str, ...]) -> Iterator[StoredObject | str]:
        """Objects and problems, in the order of their names' parts, from behind `after`."""
        waiting = [self._directory(self._root, is_root=True)]
        while waiting:
            entry = next(waiting[-1], None)
            if entry is None:
                waiting.pop()
                continue
            if isinstance(entry, str):
                yield entry
                continue
            name = self._name(entry)
            parts = tuple(name.split("/"))
            if entry.get("type") == "directory" and not entry.get("islink"):
                if after and parts < after[: len(parts)]:
                    continue
                if len(waiting) > _MAX_DEPTH:
                    yield f"{name!a}: folders are read {_MAX_DEPTH} deep"
                else:
                    waiting.append(self._directory(str(entry["name"]), is_root=False))
            elif parts > after and (entry.get("type") != "other" or entry.get("islink")):  # no pipes, no devices
                yield _object(name, entry)

    def _directory(self, path: str, *, is_root: bool) -> Iterator[dict[str, Any] | str]:
        """What stands in a directory, by name."""
        try:
            with self._said(is_root=is_root):
                entries = self._files.ls(path, detail=True)
        except DocumentError as error:
            yield f"{self._name({'name': path})!a}: {error}"
            return
        inside = (one for one in entries if str(one["name"]).rstrip("/") != path.rstrip("/"))
        yield from sorted(inside, key=lambda one: str(one["name"]).rstrip("/").rsplit("/", 1)[-1])

    def _name(self, entry: dict[str, Any]) -> str:
        return str(entry["name"]).removeprefix(self._root).strip("/")

    @contextmanager
    def _said(self, *, is_root: bool) -> Iterator[None]:
        """A store's errors as ours; those of the root are the source's."""
        try:
            yield
        except LlmopsError:
            raise
        except FileNotFoundError as error:
            if is_root or not self._files.exists(self._root):
                raise SourceError(f"there is nothing at {self._url!r} any more; try again later") from error
            raise DocumentGoneError("is not there any more") from error
        except PermissionError as error:
            if is_root:
                raise SourceDeniedError(
                    f"{self._url!r} refuses our credentials; check what they may read"
                ) from error
            raise DocumentError("cannot be read: permission denied") from error
        except OSError as error:
            problem = error.strerror or str(error)
            raise SourceError(f"{self._url!r} cannot be read: {problem[:300]}; try again later") from error
        except Exception as error:  # every store behind fsspec has exceptions of its own
            problem = f"{type(error).__name__}: {str(error)[:300]}"
            raise SourceError(f"{self._url!r} cannot be read: {problem}; try again later") from error


def _object(name: str, entry: dict[str, Any]) -> StoredObject:
    size = entry.get("size")
    return StoredObject(
        name=name,
        version=_version(entry),
        n_bytes=int(size) if size is not None else None,
        modified_at=_time(entry),
        media_type=str(entry.get("contentType") or ""),
        is_link=bool(entry.get("islink")) or entry.get("type") == "link",
    )


def _version(entry: dict[str, Any]) -> str:
    """What the store says of the content, else its times and size, else nothing."""
    for key in _DIGESTS:
        if entry.get(key):
            return str(entry[key]).strip('"')
    times = [str(entry[key]) for key in (*_TIMES, *_BIRTHS) if entry.get(key) is not None]
    return digest_of("|".join([*times, str(entry.get("size"))]).encode()) if times else ""


def _time(entry: dict[str, Any]) -> datetime | None:
    value = next((entry[key] for key in _TIMES if entry.get(key) is not None), None)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return None

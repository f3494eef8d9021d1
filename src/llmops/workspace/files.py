"""Every committed spec of a workspace, loaded and checked against the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from llmops.config import load_spec
from llmops.errors import ConfigurationError, NotFoundError, SpecError
from llmops.ingestion.spec import IngestionSpec
from llmops.prompts import Prompt, load_prompt
from llmops.serving.spec import ModelsSpec, RouteSpec

T = TypeVar("T")
MODELS_FILE = "models.yaml"
FOLDERS = ("ingestion", "prompts", "serving")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkspaceFiles:
    """What the files say; nothing is opened yet. Keys are names."""

    root: Path
    pipelines: Mapping[str, IngestionSpec]
    prompts: Mapping[Path, Prompt]
    routes: Mapping[str, RouteSpec]
    models: ModelsSpec

    def pipeline(self, name: str) -> IngestionSpec:
        """A pipeline by its name or by the path of its file."""
        by_file = {Path(spec.file).resolve(): spec for spec in self.pipelines.values()}
        found = (
            self.pipelines.get(name)
            or by_file.get(Path(name).resolve())
            or by_file.get((self.root / name).resolve())
        )
        if found is None:
            raise NotFoundError(f"no pipeline {name!r} in ingestion/; there is: {_listed(self.pipelines)}")
        return found

    def route(self, name: str) -> RouteSpec:
        if name not in self.routes:
            raise NotFoundError(f"no route {name!r}; there is: {_listed(self.routes)}")
        return self.routes[name]

    def prompt_of(self, route: RouteSpec) -> Prompt | None:
        if route.prompt is None:
            return None
        return self.prompts[(Path(route.file).parent / route.prompt).resolve()]


@dataclass(slots=True)
class _Collected(Generic[T]):
    """Specs that loaded, and the errors of those that did not."""

    items: dict[Path, T] = field(default_factory=dict)
    errors: list[ConfigurationError] = field(default_factory=list)

    def load(self, paths: Iterable[Path], load: Callable[[Path], T]) -> _Collected[T]:
        for path in paths:
            try:
                self.items[path.resolve()] = load(path)
            except ConfigurationError as error:
                self.errors.append(error)
        return self


def load_files(root: Path) -> WorkspaceFiles:
    """All specs of the workspace at `root`.

    Raises:
        ConfigurationError: the folder is no workspace.
        SpecError: the first file that is wrong.
    """
    files, errors = check_files(root)
    if errors or files is None:
        raise errors[0]
    return files


def check_files(root: Path) -> tuple[WorkspaceFiles | None, list[ConfigurationError]]:
    """As `load_files`, with every error instead of the first; no files when there is one."""
    if not any((root / folder).is_dir() for folder in FOLDERS):
        problem = f"{str(root)!r} is no llmops workspace (it has none of {', '.join(FOLDERS)}/)"
        return None, [ConfigurationError(f"{problem}; run `llmops init {root}` or pass --workspace")]
    pipelines = _Collected[IngestionSpec]().load(_yaml(root / "ingestion"), lambda p: load_spec(IngestionSpec, p))
    prompts = _Collected[Prompt]().load(sorted((root / "prompts").rglob("*.prompt.md")), load_prompt)
    route_paths = [path for path in _yaml(root / "serving") if path.name != MODELS_FILE]
    routes = _Collected[RouteSpec]().load(route_paths, lambda p: load_spec(RouteSpec, p))
    models = _Collected[ModelsSpec]().load([root / "serving" / MODELS_FILE], lambda p: load_spec(ModelsSpec, p))
    errors = [*pipelines.errors, *prompts.errors, *routes.errors, *models.errors]
    if errors:
        return None, errors
    files = WorkspaceFiles(
        root=root,
        pipelines=_by_name(pipelines.items.values(), lambda s: (s.name, s.file), errors),
        prompts=prompts.items,
        routes=_by_name(routes.items.values(), lambda s: (s.name, s.file), errors),
        models=next(iter(models.items.values())),
    )
    for route in files.routes.values():
        errors.extend(_dangling(route, files))
    return (None, errors) if errors else (files, [])


def _dangling(route: RouteSpec, files: WorkspaceFiles) -> Iterable[SpecError]:
    if route.model not in files.models.endpoints:
        problem = (
            f"no endpoint {route.model!r} in serving/{MODELS_FILE}; there is: {_listed(files.models.endpoints)}"
        )
        yield SpecError(route.file, problem, field="model")
    if route.prompt is not None:
        path = (Path(route.file).parent / route.prompt).resolve()
        if path not in files.prompts:
            problem = f"no prompt file {route.prompt!r} (it is relative to this file, and ends in .prompt.md)"
            yield SpecError(route.file, problem, field="prompt")
        elif needed := _unfilled(files.prompts[path]):
            problem = f"prompt {files.prompts[path].spec.name!r} needs {needed!r}, which a route cannot give"
            yield SpecError(route.file, f"{problem}; a route gives question and passages", field="prompt")
    if route.retrieval is not None and route.prompt is None:
        yield SpecError(route.file, "a route that retrieves needs a prompt to put the passages in", field="prompt")
    if route.retrieval is not None and route.retrieval.collection not in files.pipelines:
        problem = f"no pipeline {route.retrieval.collection!r} in ingestion/; there is: {_listed(files.pipelines)}"
        yield SpecError(route.file, problem, field="retrieval.collection")


def _unfilled(prompt: Prompt) -> str:
    variables = prompt.spec.variables.items()
    open_names = [
        n for n, v in variables if v.required and v.default is None and n not in ("question", "passages")
    ]
    return ", ".join(open_names)


def _yaml(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.y*ml") if path.suffix in (".yaml", ".yml"))


def _by_name(
    specs: Iterable[T], named: Callable[[T], tuple[str, str]], errors: list[ConfigurationError]
) -> dict[str, T]:
    found: dict[str, T] = {}
    for spec in specs:
        name, file = named(spec)
        if name in found:
            first = named(found[name])[1]
            errors.append(
                SpecError(file, f"{name!r} is already the name of {first}; choose another", field="name")
            )
        found[name] = spec
    return found


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"

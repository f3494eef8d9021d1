"""Every committed spec of a workspace, loaded and checked against the others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from llmops.config import Spec, load_spec
from llmops.errors import ConfigurationError, NotFoundError, SpecError
from llmops.evals.spec import SuiteSpec
from llmops.guardrails.spec import GuardrailsSpec
from llmops.ingestion.spec import IngestionSpec
from llmops.prompts import Prompt, load_prompt
from llmops.retrieval.spec import ModelRewrite
from llmops.serving.spec import ExtractiveEndpoint, ModelsSpec, RouteSpec

T = TypeVar("T")
S = TypeVar("S", bound=Spec)
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
    policies: Mapping[str, GuardrailsSpec] = field(default_factory=dict)
    suites: Mapping[str, SuiteSpec] = field(default_factory=dict)

    def pipeline(self, name: str) -> IngestionSpec:
        """A pipeline by its name or by the path of its file."""
        found = self._by_name_or_file(self.pipelines, name)
        if found is None:
            raise NotFoundError(f"no pipeline {name!r} in ingestion/; there is: {_listed(self.pipelines)}")
        return found

    def suite(self, name: str) -> SuiteSpec:
        """A suite by its name or by the path of its file."""
        found = self._by_name_or_file(self.suites, name)
        if found is None:
            raise NotFoundError(f"no suite {name!r} in evals/; there is: {_listed(self.suites)}")
        return found

    def policy(self, name: str) -> GuardrailsSpec:
        if name not in self.policies:
            raise NotFoundError(f"no policy {name!r} in guardrails/; there is: {_listed(self.policies)}")
        return self.policies[name]

    def route(self, name: str) -> RouteSpec:
        if name not in self.routes:
            raise NotFoundError(f"no route {name!r}; there is: {_listed(self.routes)}")
        return self.routes[name]

    def prompt_of(self, route: RouteSpec) -> Prompt | None:
        """The prompt file a route names; None on a route that forwards, or whose prompt is a released one.

        Raises:
            NotFoundError: the file is not there any more.
        """
        if route.prompt is None or route.released_prompt is not None:
            return None
        prompt = self.prompts.get((Path(route.file).parent / route.prompt).resolve())
        if prompt is None:  # moved away since the route was loaded
            raise NotFoundError(f"the prompt file {route.prompt!r} of route {route.name!r} is gone; start again")
        return prompt

    def prompt_named(self, name: str) -> Prompt | None:
        """The file in `prompts/` whose prompt has this name."""
        return next((prompt for prompt in self.prompts.values() if prompt.spec.name == name), None)

    def _by_name_or_file(self, specs: Mapping[str, S], name: str) -> S | None:
        by_file = {Path(spec.file).resolve(): spec for spec in specs.values()}
        return specs.get(name) or by_file.get(Path(name).resolve()) or by_file.get((self.root / name).resolve())


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
    policies = _Collected[GuardrailsSpec]().load(
        _yaml(root / "guardrails"), lambda p: load_spec(GuardrailsSpec, p)
    )
    suites = _Collected[SuiteSpec]().load(_yaml(root / "evals"), lambda p: load_spec(SuiteSpec, p))
    collected = (pipelines, prompts, routes, models, policies, suites)
    errors = [error for of_kind in collected for error in of_kind.errors]
    if errors:
        return None, errors
    files = WorkspaceFiles(
        root=root,
        pipelines=_by_name(pipelines.items.values(), lambda s: (s.name, s.file), errors),
        prompts=prompts.items,
        routes=_by_name(routes.items.values(), lambda s: (s.name, s.file), errors),
        models=next(iter(models.items.values())),
        policies=_by_name(policies.items.values(), lambda s: (s.name, s.file), errors),
        suites=_by_name(suites.items.values(), lambda s: (s.name, s.file), errors),
    )
    _by_name(prompts.items.values(), lambda p: (p.spec.name, p.spec.file), errors)
    for route in files.routes.values():
        errors.extend(_dangling(route, files))
    errors.extend(_dangling_suites(files))
    return (None, errors) if errors else (files, [])


def load_pipelines(root: Path) -> Mapping[str, IngestionSpec]:
    """The pipelines as their files say now, whatever else is wrong in the workspace.

    Raises:
        SpecError: the first file in `ingestion/` that is wrong.
    """
    loaded = _Collected[IngestionSpec]().load(_yaml(root / "ingestion"), lambda p: load_spec(IngestionSpec, p))
    errors = loaded.errors
    found = _by_name(loaded.items.values(), lambda s: (s.name, s.file), errors)
    if errors:
        raise errors[0]
    return found


def pipeline_marks(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a file in `ingestion/` does: name, time and size of each."""
    found = []
    for path in _yaml(root / "ingestion"):
        with contextlib.suppress(OSError):
            info = path.stat()
            found.append((path.name, info.st_mtime_ns, info.st_size))
    return tuple(found)


def _dangling(route: RouteSpec, files: WorkspaceFiles) -> Iterable[SpecError]:
    if route.model not in files.models.endpoints:
        problem = (
            f"no endpoint {route.model!r} in serving/{MODELS_FILE}; there is: {_listed(files.models.endpoints)}"
        )
        yield SpecError(route.file, problem, field="model")
    rewrite = route.retrieval.rewrite if route.retrieval is not None else None
    if isinstance(rewrite, ModelRewrite) and rewrite.endpoint is not None:
        if rewrite.endpoint not in files.models.endpoints:
            problem = f"no endpoint {rewrite.endpoint!r} in serving/{MODELS_FILE}"
            there = f"{problem}; there is: {_listed(files.models.endpoints)}"
            yield SpecError(route.file, there, field="retrieval.rewrite.endpoint")
        elif isinstance(files.models.endpoints[rewrite.endpoint], ExtractiveEndpoint):
            problem = f"endpoint {rewrite.endpoint!r} is extractive and writes no questions"
            cure = "name one of type openai, or use type: terms"
            yield SpecError(route.file, f"{problem}; {cure}", field="retrieval.rewrite.endpoint")
    if route.released_prompt is not None:
        named = files.prompt_named(route.released_prompt[0])
        if named is not None and (needed := unfilled(named)):
            problem = f"prompt {named.spec.name!r} needs {needed!r}, which a route cannot give"
            yield SpecError(route.file, f"{problem}; a route gives question and passages", field="prompt")
    elif route.prompt is not None:
        path = (Path(route.file).parent / route.prompt).resolve()
        if path not in files.prompts:
            problem = f"no prompt file {route.prompt!r} (it is relative to this file, and ends in .prompt.md)"
            yield SpecError(route.file, problem, field="prompt")
        elif needed := unfilled(files.prompts[path]):
            problem = f"prompt {files.prompts[path].spec.name!r} needs {needed!r}, which a route cannot give"
            yield SpecError(route.file, f"{problem}; a route gives question and passages", field="prompt")
    if route.retrieval is not None and route.prompt is None:
        yield SpecError(route.file, "a route that retrieves needs a prompt to put the passages in", field="prompt")
    if route.retrieval is not None and route.retrieval.collection not in files.pipelines:
        problem = f"no pipeline {route.retrieval.collection!r} in ingestion/; there is: {_listed(files.pipelines)}"
        yield SpecError(route.file, problem, field="retrieval.collection")

    if route.guardrails is not None and route.guardrails not in files.policies:
        problem = f"no policy {route.guardrails!r} in guardrails/; there is: {_listed(files.policies)}"
        yield SpecError(route.file, problem, field="guardrails")
    if route.guardrails is not None and route.prompt is None:
        problem = "a route without a prompt forwards bytes and checks none of them; give it a prompt"
        yield SpecError(route.file, problem, field="guardrails")


def _dangling_suites(files: WorkspaceFiles) -> Iterable[SpecError]:
    for suite in files.suites.values():
        if suite.route not in files.routes:
            problem = f"no route {suite.route!r} in serving/; there is: {_listed(files.routes)}"
            yield SpecError(suite.file, problem, field="route")
        elif files.routes[suite.route].prompt is None:
            problem = f"route {suite.route!r} has no prompt: it only forwards, and there is nothing to score"
            yield SpecError(suite.file, problem, field="route")


def unfilled(prompt: Prompt) -> str:
    """Variables that a route could not fill, as a list for people; "" when there is none."""
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

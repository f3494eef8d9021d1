"""The files of a workspace are loaded together, and what one says of another is checked."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from llmops.errors import ConfigurationError, NotFoundError, SpecError
from llmops.evals.spec import SuiteSpec
from llmops.guardrails.guard import Guard
from llmops.ingestion.spec import FolderSource
from llmops.workspace.files import check_files, load_files
from tests.conftest import REPOSITORY

TEMPLATE = REPOSITORY / "src/llmops/cli/workspace_template"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace as `llmops init` makes it."""
    return Path(shutil.copytree(TEMPLATE, tmp_path / "app"))


def replaced(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def copied(path: Path, name: str) -> Path:
    return Path(shutil.copy(path, path.with_name(name)))


@pytest.mark.parametrize(
    ("root", "name"), [(REPOSITORY, "handbook"), (TEMPLATE, "docs")], ids=["ours", "template"]
)
def test_every_committed_spec_is_loaded(root: Path, name: str) -> None:
    files = load_files(root)
    loaded = {
        Path(spec.file).resolve() for spec in (*files.pipelines.values(), *files.routes.values(), files.models)
    }
    loaded |= {Path(spec.file).resolve() for spec in (*files.policies.values(), *files.suites.values())}
    folders = ("ingestion/*", "serving/*", "prompts/**/*.*", "guardrails/*", "evals/*.yaml")
    committed = [path for folder in folders for path in root.glob(folder)]
    assert loaded | set(files.prompts) == {path.resolve() for path in committed}
    assert list(files.pipelines) == [name]
    prompt = files.prompt_named("answer")
    assert prompt is not None
    for example in prompt.spec.examples:
        assert prompt.render(example.variables).messages
    source = files.pipelines[name].source
    assert isinstance(source, FolderSource)
    assert (Path(files.pipelines[name].file).parent / source.path).is_dir()


@pytest.mark.parametrize("root", [REPOSITORY, TEMPLATE], ids=["ours", "template"])
def test_every_suite_has_the_datasets_it_names_and_a_policy_can_be_built(root: Path) -> None:
    files = load_files(root)
    for suite in files.suites.values():
        assert suite.dataset().examples
    used = {path.resolve() for suite in files.suites.values() for path in datasets_of(suite)}
    assert used == {path.resolve() for path in root.glob("evals/*.jsonl")}
    for policy in files.policies.values():
        assert Guard(policy).check("input", "When does it open?").action == "allow"


def datasets_of(suite: SuiteSpec) -> list[Path]:
    return [Path(suite.file).parent / name for name in suite.datasets]


@pytest.mark.parametrize("path", ["prompts/answer.prompt.md", "guardrails/default.yaml"])
def test_the_template_has_the_same_prompt_and_policy_as_the_repository(path: str) -> None:
    def read(root: Path) -> str:
        # How many sentences an answer may have is chosen by each workspace's own questions.
        return re.sub(r"max_sentences: \d.*", "", (root / path).read_text())

    assert read(TEMPLATE) == read(REPOSITORY)


def test_a_pipeline_is_found_by_its_name_and_by_its_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = load_files(root)
    found = files.pipeline("docs")
    monkeypatch.chdir(root / "ingestion")
    assert files.pipeline("ingestion/docs.yaml") is found
    assert files.pipeline("docs.yaml") is found
    assert files.pipeline(str(root / "ingestion/docs.yaml")) is found
    with pytest.raises(NotFoundError, match="no pipeline 'dcos' in ingestion/; there is: docs"):
        files.pipeline("dcos")


def test_an_unknown_route_is_answered_with_those_there_are(root: Path) -> None:
    with pytest.raises(NotFoundError, match="no route 'assitant'; there is: assistant"):
        load_files(root).route("assitant")


def test_a_folder_that_is_no_workspace_is_said_to_be_none(tmp_path: Path) -> None:
    said = (
        f"{str(tmp_path)!r} is no llmops workspace (it has none of ingestion, prompts, serving/); run `llmops init"
    )
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        load_files(tmp_path)
    with pytest.raises(ConfigurationError, match="is no llmops workspace"):
        load_files(tmp_path / "none")


def test_two_pipelines_of_one_name_are_refused(root: Path) -> None:
    copied(root / "ingestion/docs.yaml", "more.yaml")
    folder = root / "ingestion"
    said = f"{folder}/more.yaml: name: 'docs' is already the name of {folder}/docs.yaml; choose another"
    with pytest.raises(SpecError, match=re.escape(said)):
        load_files(root)


def test_two_routes_of_one_name_are_refused(root: Path) -> None:
    copied(root / "serving/assistant.yaml", "other.yml")
    with pytest.raises(SpecError, match=r"other\.yml: name: 'assistant' is already the name of .*assistant\.yaml"):
        load_files(root)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("model: default", "model: vllm", "model: no endpoint 'vllm' in serving/models.yaml; there is: default"),
        (
            "../prompts/answer.prompt.md",
            "answer.prompt.md",
            "prompt: no prompt file 'answer.prompt.md' (it is relative to this file, and ends in .prompt.md)",
        ),
        ("../prompts/answer.prompt.md", "../docs/welcome.md", "prompt: no prompt file '../docs/welcome.md'"),
        (
            "collection: docs",
            "collection: handbook",
            "retrieval.collection: no pipeline 'handbook' in ingestion/; there is: docs",
        ),
        (
            "prompt: ../prompts/answer.prompt.md\n",
            "",
            "prompt: a route that retrieves needs a prompt to put the passages in",
        ),
    ],
)
def test_what_a_route_names_must_be_there(old: str, new: str, said: str, root: Path) -> None:
    path = replaced(root / "serving/assistant.yaml", old, new)
    with pytest.raises(SpecError, match=re.escape(f"{path}: {said}")):
        load_files(root)


def test_a_prompt_must_need_no_more_than_a_route_can_give(root: Path) -> None:
    path = root / "prompts/answer.prompt.md"
    replaced(path, "\nvariables:\n", "\nvariables:\n  tone: {type: string}\n")
    replaced(path, "Question: {{", "Tone: {{ tone }}\nQuestion: {{")
    replaced(path, "    variables:\n      question", "    variables:\n      tone: dry\n      question")
    with pytest.raises(
        SpecError, match=r"prompt: prompt 'answer' needs 'tone', which a route cannot give; a route giv"
    ):
        load_files(root)
    replaced(path, "tone: {type: string}", "tone: {type: string, required: false}")
    load_files(root)
    replaced(path, "required: false", "default: dry")
    load_files(root)


def test_a_prompt_may_stand_in_a_folder_of_its_own(root: Path) -> None:
    (root / "prompts/team").mkdir()
    (root / "prompts/answer.prompt.md").rename(root / "prompts/team/answer.prompt.md")
    replaced(root / "serving/assistant.yaml", "../prompts/", "../prompts/team/")
    assert load_files(root).prompt_of(load_files(root).route("assistant")) is not None


def test_a_route_without_a_prompt_forwards(root: Path) -> None:
    (root / "serving/raw.yaml").write_text("name: raw\ndescription: d\nmodel: default\n")
    files = load_files(root)
    assert files.prompt_of(files.route("raw")) is None


def test_every_error_is_found_at_once(root: Path) -> None:
    replaced(root / "ingestion/docs.yaml", "acl: [everyone]", "acl: []")
    replaced(root / "prompts/answer.prompt.md", "{{ question }}", "{{ wuestion }}")
    replaced(root / "serving/assistant.yaml", "model: default", "modle: default")
    (root / "serving/models.yaml").unlink()
    files, errors = check_files(root)
    assert files is None
    assert [re.sub(r"^.*/(\S+?)(:\d+)?: .*", r"\1", str(error)) for error in errors] == [
        "docs.yaml",
        "answer.prompt.md",
        "assistant.yaml",
        "models.yaml",
    ]
    assert "models.yaml: no such file; check the path" in str(errors[-1])


def test_every_dangling_name_is_found_at_once(root: Path) -> None:
    path = replaced(root / "serving/assistant.yaml", "model: default", "model: vllm")
    replaced(path, "collection: docs", "collection: handbook")
    _, errors = check_files(root)
    assert len(errors) == 2

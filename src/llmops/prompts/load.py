"""From a `.prompt.md` file to a checked `Prompt`: what is wrong is said with its line before anyone asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from jinja2 import TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables

from llmops.config import parse_yaml, read_text, validate
from llmops.errors import RequestError, SpecError
from llmops.prompts.render import PARAMETERS, PARTS, Prompt, environment, has_type
from llmops.prompts.spec import PromptSpec

_FENCE = "---"
Lines = Mapping[tuple[str | int, ...], int]


def load_prompt(path: Path) -> Prompt:
    """Read, validate and compile one prompt file, and render its examples.

    Raises:
        SpecError: with the line: front matter, syntax, unknown or unused variables, examples that fail.
    """
    return parse_prompt(read_text(path), str(path))


def parse_prompt(text: str, file: str) -> Prompt:
    """As `load_prompt`, from the text of a prompt file; `file` is what errors call it.

    Raises:
        SpecError: as `load_prompt`.
    """
    front, body, body_line = _split(text, file)
    value, lines = parse_yaml(front, file, first_line=2)
    if "template" in value:
        line = lines[("template",)]
        raise SpecError(
            file, "belongs below the closing '---', not in the front matter", line=line, field="template"
        )
    spec = validate(PromptSpec, {**value, "template": body}, lines, file=file)
    try:
        _check_defaults(spec, lines)
        _check_template(spec, lines, body_line)
        prompt = Prompt(spec, text=text)
    except TemplateSyntaxError as error:
        problem = f"template syntax: {error.message}"
        raise SpecError(file, problem, line=error.lineno + body_line - 1) from error
    for index, example in enumerate(spec.examples):
        try:
            prompt.render(example.variables)
        except RequestError as error:
            at = lines.get(("examples", index))
            raise SpecError(file, str(error), line=at, field=f"examples.{example.name}") from error
    return prompt


def _split(text: str, file: str) -> tuple[str, str, int]:
    """Front matter, template, and the line on which the template begins."""
    lines = text.split("\n")
    if lines[0].strip() != _FENCE:
        raise SpecError(file, "must begin with '---' and YAML front matter (name, description, variables)", line=1)
    for number, line in enumerate(lines[1:], start=2):
        if line.rstrip() == _FENCE:
            return "\n".join(lines[1 : number - 1]), "\n".join(lines[number:]), number + 1
    raise SpecError(file, "the front matter has no closing '---'", line=len(lines))


def _check_defaults(spec: PromptSpec, lines: Lines) -> None:
    for name, variable in spec.variables.items():
        line, field = lines.get(("variables", name)), f"variables.{name}"
        if name == PARAMETERS:
            problem = "is the name under which the template sees the model parameters; choose another"
            raise SpecError(spec.file, problem, line=line, field=field)
        if variable.default is not None and not has_type(variable.default, variable.type):
            problem = f"{variable.default!r} is not of type {variable.type}; mend the default or the type"
            at = lines.get(("variables", name, "default"))
            raise SpecError(spec.file, problem, line=at, field=f"{field}.default")


def _check_template(spec: PromptSpec, lines: Lines, first_line: int) -> None:
    tree = environment().parse(spec.template)
    _check_parts(spec, tree, first_line)
    used = find_undeclared_variables(tree) - {PARAMETERS}
    for name in sorted(used - set(spec.variables)):
        line = min(n.lineno for n in tree.find_all(nodes.Name) if n.name == name) + first_line - 1
        known = ", ".join(sorted(spec.variables)) or "none"
        raise SpecError(spec.file, f"unknown variable {name!r}; declare it in 'variables' ({known})", line=line)
    unused = sorted(set(spec.variables) - used)
    if unused:
        problem = f"is declared but the template does not use it; use {{{{ {unused[0]} }}}} or remove it"
        at = lines.get(("variables", unused[0]))
        raise SpecError(spec.file, problem, line=at, field=f"variables.{unused[0]}")


def _check_parts(spec: PromptSpec, tree: nodes.Template, first_line: int) -> None:
    for block in tree.find_all(nodes.Block):
        if block.name not in PARTS:
            problem = f"unknown part {block.name!r}; a prompt has {{% block system %}} and {{% block user %}}"
            raise SpecError(spec.file, problem, line=block.lineno + first_line - 1)
    for foreign in tree.find_all((nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)):
        problem = f"{type(foreign).__name__.lower()} names another file; a prompt is one file, write it out here"
        raise SpecError(spec.file, problem, line=foreign.lineno + first_line - 1)
    if line := next(_outside(tree), None):
        problem = "what stands outside of {% block system %} and {% block user %} would be lost; move it into one"
        raise SpecError(spec.file, problem, line=line + first_line - 1)
    if not any(isinstance(node, nodes.Block) and node.name == "user" for node in tree.body):
        problem = "has no user part; write {% block user %} … {% endblock %}"
        raise SpecError(spec.file, problem, line=first_line)


def _outside(tree: nodes.Template) -> Iterator[int]:
    """Lines of the template on which something other than a part begins."""
    for node in tree.body:
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                if not isinstance(part, nodes.TemplateData):
                    yield part.lineno
                elif text := part.data.lstrip():
                    yield part.lineno + part.data[: len(part.data) - len(text)].count("\n")
        elif not isinstance(node, nodes.Block):
            yield node.lineno
        else:
            yield from (inner.lineno for child in node.body for inner in _blocks(child))


def _blocks(node: nodes.Node) -> Iterator[nodes.Block]:
    """Parts that stand inside another part."""
    if isinstance(node, nodes.Block):
        yield node
    yield from node.find_all(nodes.Block)

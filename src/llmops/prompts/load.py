"""From a `.prompt.md` file to a checked `Prompt`: what is wrong is said with its line before anyone asks."""

from __future__ import annotations

from pathlib import Path

from jinja2 import TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables

from llmops.config import parse_yaml, read_text, validate
from llmops.errors import RequestError, SpecError
from llmops.prompts.render import PARAMETERS, PARTS, Prompt, environment
from llmops.prompts.spec import PromptSpec

_FENCE = "---"


def load_prompt(path: Path) -> Prompt:
    """Read, validate and compile one prompt file, and render its examples.

    Raises:
        SpecError: with the line: front matter, syntax, unknown or unused variables, examples that fail.
    """
    file = str(path)
    front, body, body_line = _split(read_text(path), file)
    value, lines = parse_yaml(front, file, first_line=2)
    if "template" in value:
        line = lines[("template",)]
        raise SpecError(
            file, "belongs below the closing '---', not in the front matter", line=line, field="template"
        )
    spec = validate(PromptSpec, {**value, "template": body}, lines, file=file)
    try:
        _check_template(spec, lines.get(("variables",)), body_line)
        prompt = Prompt(spec)
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


def _check_template(spec: PromptSpec, variables_line: int | None, first_line: int) -> None:
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
        raise SpecError(spec.file, problem, line=variables_line, field=f"variables.{unused[0]}")


def _check_parts(spec: PromptSpec, tree: nodes.Template, first_line: int) -> None:
    blocks = {block.name: block for block in tree.find_all(nodes.Block)}
    for name, block in blocks.items():
        if name not in PARTS:
            problem = f"unknown part {name!r}; a prompt has {{% block system %}} and {{% block user %}}"
            raise SpecError(spec.file, problem, line=block.lineno + first_line - 1)
    if "user" not in blocks:
        problem = "has no user part; write {% block user %} … {% endblock %}"
        raise SpecError(spec.file, problem, line=first_line)
    for node in tree.body:
        loose = (
            [n for n in node.find_all(nodes.TemplateData) if n.data.strip()]
            if isinstance(node, nodes.Output)
            else []
        )
        for text in loose:
            skipped = text.data[: len(text.data) - len(text.data.lstrip())].count("\n")
            problem = "text outside of {% block system %} and {% block user %} would be lost; move it into one"
            raise SpecError(spec.file, problem, line=text.lineno + skipped + first_line - 1)

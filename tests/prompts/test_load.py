"""What is wrong with a prompt file is said with its line, before anyone asks a question."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmops.errors import RequestError, SpecError
from llmops.prompts import load_prompt
from tests.conftest import REPOSITORY

FRONT = "---\nname: p\ndescription: d\nvariables:\n  q: {type: string}\n"  # the closing fence is line 6
USER = "{% block user %}\n{{ q }}\n{% endblock %}\n"
LOST = "what stands outside of {% block system %} and {% block user %} would be lost; move it into one"


def written(folder: Path, text: str) -> Path:
    path = folder / "p.prompt.md"
    path.write_text(text)
    return path


# template below the fence, so that its first line is line 7 of the file; what the error says after the file's name
WRONG_TEMPLATE = {
    "syntax": ("{% block user %}\n{{ q }\n{% endblock %}\n", ":8: template syntax: unexpected '}'"),
    "a block left open": ("{% block user %}\n{{ q }}\n", ":8: template syntax: Unexpected end of template."),
    "an unknown variable": (
        "{% block user %}\n{{ q }}\n{{ wuestion }}\n{% endblock %}",
        ":9: unknown variable 'wuestion'; declare it in 'variables' (q)",
    ),
    "an unknown filter": (
        "{% block user %}\n{{ q|shout }}\n{% endblock %}",
        ":8: template syntax: No filter named",
    ),
    "an unknown test": ("{% block user %}\n{{ q is loud }}\n{% endblock %}", ":8: template syntax: No test named"),
    "an unused variable": (
        "{% block user %}hello{% endblock %}",
        ":5: variables.q: is declared but the template does not use it; use {{ q }} or remove it",
    ),
    "an unknown part": (
        USER + "{% block assistant %}{% endblock %}",
        ":10: unknown part 'assistant'; a prompt has {% block system %} and {% block user %}",
    ),
    "no user part": ("{% block system %}{{ q }}{% endblock %}", ":7: has no user part; write {% block user %}"),
    "nothing at all": ("", ":7: has no user part"),
    "a part twice": (USER + USER, ":10: template syntax: block 'user' defined twice"),
    "loose text": ("\n\nHello\n" + USER, f":9: {LOST}"),
    "loose text behind": (USER + "\nHello\n", f":11: {LOST}"),
    "a loose variable": ("{{ q }}\n" + USER, f":7: {LOST}"),
    "a loose condition": (USER + "{% if q %}Hello{% endif %}", f":10: {LOST}"),
    "a loose assignment": ("{% set x = 1 %}\n" + USER, f":7: {LOST}"),
    "a loose macro": ("{% macro m() %}m{% endmacro %}\n" + USER, f":7: {LOST}"),
    "a part in a loop": ("{% for x in q %}" + USER + "{% endfor %}", f":7: {LOST}"),
    "a part in a part": (
        "{% block user %}\n{{ q }}\n{% block system %}{% endblock %}\n{% endblock %}",
        f":9: {LOST}",
    ),
    "another file included": (
        "{% block user %}\n{{ q }}{% include 'x' %}\n{% endblock %}",
        ":8: include names another file; a prompt is one file, write it out here",
    ),
    "another file extended": ("{% extends 'x' %}\n" + USER, ":7: extends names another file"),
    "another file imported": ("{% import 'x' as x %}\n" + USER, ":7: import names another file"),
}
WRONG_FRONT = {
    "not opened": ("name: p\n---\n" + USER, ":1: must begin with '---' and YAML front matter"),
    "not closed": ("---\nname: p\n" + USER, ":6: the front matter has no closing '---'"),
    "empty": ("---\n---\n" + USER, ":2: is empty"),
    "not YAML": ("---\nname: p\ndescription: [\n---\n" + USER, ":3: not valid YAML"),
    "an unknown field": (
        FRONT + "exampels: []\n---\n" + USER,
        ":6: exampels: unknown field; did you mean 'examples'?",
    ),
    "the template in it": (
        FRONT + "template: hello\n---\n" + USER,
        ":6: template: belongs below the closing '---', not in the front matter",
    ),
    "an unknown type": (
        FRONT.replace("string", "text") + "---\n" + USER,
        ":5: variables.q.type: input should be 'st",
    ),
    "a default of another type": (
        FRONT.replace("string", "integer, default: five") + "---\n" + USER,
        ":5: variables.q.default: 'five' is not of type integer; mend the default or the type",
    ),
    "a variable called parameters": (
        FRONT.replace("q:", "parameters:") + "---\n{% block user %}{{ parameters }}{% endblock %}",
        ":5: variables.parameters: is the name under which the template sees the model parameters",
    ),
    "an example of another type": (
        FRONT
        + "examples:\n  - name: one\n    variables: {q: one}\n  - name: two\n    variables: {q: 2}\n---\n"
        + USER,
        ":9: examples.two: variable 'q' of prompt 'p' must be of type string, not int",
    ),
    "an example without a value": (
        FRONT + "examples:\n  - name: one\n    variables: {}\n---\n" + USER,
        ":7: examples.one: prompt 'p' needs a value for 'q' (string)",
    ),
    "an example with too many": (
        FRONT + "examples:\n  - name: one\n    variables: {q: a, r: b}\n---\n" + USER,
        ":7: examples.one: prompt 'p' has no variable 'r'; it has q",
    ),
    "an example that cannot be rendered": (
        FRONT + "examples:\n  - name: one\n    variables: {q: a}\n---\n{% block user %}{{ q / 2 }}{% endblock %}",
        ":7: examples.one: prompt 'p' cannot be rendered: unsupported operand",
    ),
}


@pytest.mark.parametrize("case", WRONG_TEMPLATE)
def test_a_wrong_template_is_said_with_the_line_of_the_file(case: str, tmp_path: Path) -> None:
    template, said = WRONG_TEMPLATE[case]
    path = written(tmp_path, f"{FRONT}---\n{template}")
    with pytest.raises(SpecError, match=re.escape(f"{path}{said}")):
        load_prompt(path)


@pytest.mark.parametrize("case", WRONG_FRONT)
def test_wrong_front_matter_is_said_with_the_line_of_the_file(case: str, tmp_path: Path) -> None:
    text, said = WRONG_FRONT[case]
    path = written(tmp_path, text)
    with pytest.raises(SpecError, match=re.escape(f"{path}{said}")):
        load_prompt(path)


@pytest.mark.parametrize(
    "expression", ["''.__class__", "q.__class__.__mro__", "cycler.__init__.__globals__", "q.format.__globals__"]
)
def test_the_sandbox_keeps_a_template_from_python(expression: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"{FRONT}---\n{{% block user %}}{{{{ q }}}}{{{{ {expression} }}}}{{% endblock %}}")
    prompt = load_prompt(path)
    with pytest.raises(SpecError, match="the template tries what the sandbox forbids"):
        prompt.render({"q": "x"})


def test_a_template_cannot_change_what_it_is_given(tmp_path: Path) -> None:
    front = FRONT.replace("string", "list")
    prompt = load_prompt(written(tmp_path, f"{front}---\n{{% block user %}}{{{{ q.append(1) }}}}{{% endblock %}}"))
    with pytest.raises(SpecError, match="the sandbox forbids"):
        prompt.render({"q": [0]})


def test_a_range_without_end_is_refused(tmp_path: Path) -> None:
    body = "{% block user %}{{ q }}{% for i in range(10 ** 12) %}x{% endfor %}{% endblock %}"
    with pytest.raises(RequestError, match="cannot be rendered: Range too big"):
        load_prompt(written(tmp_path, f"{FRONT}---\n{body}")).render({"q": "x"})


def test_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    text = f"{FRONT}---\n{USER}"
    plain = load_prompt(written(tmp_path, text))
    path = tmp_path / "w.prompt.md"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    assert load_prompt(path).render({"q": "x"}).messages == plain.render({"q": "x"}).messages


def test_a_fence_within_a_text_of_the_front_matter_does_not_close_it(tmp_path: Path) -> None:
    text = FRONT.replace("description: d", "description: |\n  above\n  ---\n  below")
    assert "below" in load_prompt(written(tmp_path, f"{text}---\n{USER}")).spec.description


def test_the_digest_follows_the_template_and_the_front_matter(tmp_path: Path) -> None:
    one = load_prompt(written(tmp_path, f"{FRONT}---\n{USER}"))
    commented = load_prompt(written(tmp_path, f"{FRONT}# said\n---\n{USER}"))
    other = load_prompt(written(tmp_path, f"{FRONT}---\n{USER.replace('{{ q }}', 'Please: {{ q }}')}"))
    assert one.digest == commented.digest == one.spec.spec_hash
    assert one.digest != other.digest


def test_the_shipped_prompt_renders_its_examples() -> None:
    prompt = load_prompt(REPOSITORY / "prompts/answer.prompt.md")
    first, nothing = (prompt.render(example.variables).messages for example in prompt.spec.examples)
    assert [message.role for message in first] == ["system", "user"]
    assert '<passage id="1" title="Concepts › Workspace" source="concepts.md">' in first[1].content
    assert "<passage" not in nothing[1].content
    assert "I don't know" in nothing[0].content

"""`llmops lineage`: everything that shaped one answer."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from llmops.cli.options import HERE, JsonOption, WorkspaceOption, print_json


def lineage(
    answer: Annotated[str, typer.Argument(help="The inference_id of an answer.")],
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Show what shaped an answer: prompt, documents, model, policy, and who released it on which evidence."""
    from llmops.cli.faces import OwnerFace
    from llmops.cli.opening import open_ledger
    from llmops.workspace.lineage import lineage as lineage_of
    from llmops.workspace.ownership import find_owner

    owner = find_owner(workspace)
    if owner is not None and owner.url:
        found = OwnerFace(owner).lineage(answer)
    else:
        with open_ledger(workspace) as ledger:
            found = lineage_of(ledger, answer)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    print(f"{found['inference_id']}  {found['asked_at']}  route {found['route']}  {found['status']}")
    print(f"asked     {found['question'] or '(not kept)'}")
    print(textwrap.indent(found["answer"] or "(not kept)", "answered  ")[:600])
    print(f"\nmodel     {found['model']}  {_given(found['parameters'])}".rstrip())
    for content in found["contents"]:
        version = f"version {content['version']}" if content["version"] else ""
        origin = f"commit {content['commit'][:12]}" if content["commit"] else ""
        who = f"by {content['author']}" if content["author"] else ""
        parts = (content["kind"], content["name"], content["digest"][:12], version, who, origin)
        print("  ".join(part for part in parts if part))
    print("\nPassages (* is cited)")
    for hit in found["passages"]:
        if hit["number"] is None:
            continue
        document = hit["document"]
        if document is None:
            state = "no longer in the collection's ledger"
        else:
            state = (
                "changed since" if document["has_changed_since"] else f"content {document['content_hash'][:12]}"
            )
        mark = "*" if hit["is_cited"] else " "
        print(f" {mark}[{hit['number']}] {hit['uri']}  {hit['chunk_id']}  {state}")
    for title, lines in (
        ("Guardrails", [_finding(finding) for finding in found["guardrails"]]),
        ("Released by", [_release(release) for release in found["releases"]]),
        ("Feedback", [_feedback(given) for given in found["feedback"]]),
    ):
        if lines:
            print(f"\n{title}")
            for line in lines:
                print(f"  {line}")


def _given(parameters: dict[str, Any]) -> str:
    shown = {name: value for name, value in parameters.items() if name != "unknown_answer"}
    return "  ".join(f"{name}={value}" for name, value in shown.items())


def _finding(finding: dict[str, Any]) -> str:
    return (
        f"{finding['stage']}: {finding['check']} found {finding['kind']} ({finding['score']}): {finding['action']}"
    )


def _release(release: dict[str, Any]) -> str:
    verdict = release["verdict"]
    evidence = ""
    if release["is_forced"]:
        evidence = f"FORCED: {release['reason']}"
    elif verdict is not None:
        evidence = f"on verdict {verdict['verdict_id'][:12]} of suite {verdict['suite']}: {verdict['outcome']}"
    what = (
        f"version {release['version']}"
        if release["version"] and release["kind"] == "prompt"
        else release["target"]
    )
    line = (
        f"{release['kind']}:{release['name']} {what}  {release['action']} by {release['actor']} at {release['at']}"
    )
    return f"{line}  {evidence}".rstrip()


def _feedback(given: dict[str, Any]) -> str:
    said = " ".join(part for part in (given["comment"], given["correction"]) if part)
    return f"{given['name']}={given['value']} by {given['caller']}  {said}".rstrip()

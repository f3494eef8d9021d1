"""`llmops schema`: JSON schemas of the spec kinds, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from llmops.cli.options import print_json
from llmops.errors import RequestError


def schema(
    kind: Annotated[
        str | None, typer.Argument(help="guardrails, ingestion, models, prompt, route or suite.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Write KIND.schema.json files into this folder.")] = None,
) -> None:
    """Print or write the JSON schema of each kind of spec."""
    from llmops.config import json_schema
    from llmops.evals.spec import SuiteSpec
    from llmops.guardrails.spec import GuardrailsSpec
    from llmops.ingestion.spec import IngestionSpec
    from llmops.prompts.spec import PromptSpec
    from llmops.serving.spec import ModelsSpec, RouteSpec

    specs = (GuardrailsSpec, IngestionSpec, ModelsSpec, PromptSpec, RouteSpec, SuiteSpec)
    kinds = {spec.kind: spec for spec in specs}
    if kind is not None and kind not in kinds:
        raise RequestError(f"no spec kind {kind!r}; the kinds are {', '.join(kinds)}")
    schemas = {name: json_schema(spec) for name, spec in kinds.items() if kind in (None, name)}
    if write is None:
        print_json(schemas[kind] if kind is not None else schemas)
        return
    try:
        write.mkdir(parents=True, exist_ok=True)
        for name, value in schemas.items():
            path = write / f"{name}.schema.json"
            path.write_text(json.dumps(value, indent=2) + "\n")
            print(f"wrote {path}")
    except OSError as error:
        raise RequestError(f"cannot write into {str(write)!r}: {error.strerror}") from error

"""`llmops up`: gateway and chat page in one process."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated

import typer

from llmops.cli.options import HERE, JsonOption, WorkspaceOption


def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8080,
    workspace: WorkspaceOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Serve the API and the chat page until Ctrl-C."""
    from llmops.gateway.server import serve
    from llmops.settings import Settings
    from llmops.workspace.opened import Workspace

    opened = Workspace(workspace, Settings.from_environment(), command="llmops up")
    try:
        routes, has_keys = list(opened.files.routes), not opened.keys.is_empty
        on_ready = partial(_announce, routes=routes, has_keys=has_keys, as_json=as_json)
        serve(opened, host=host, port=port, on_ready=on_ready)
    finally:
        opened.close()
    if not as_json:
        print("stopped; everything is saved")


def _announce(url: str, *, routes: list[str], has_keys: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"url": url, "routes": routes}), flush=True)
    else:
        _greet(url, routes, has_keys)


def _greet(url: str, routes: list[str], has_keys: bool) -> None:
    route = routes[0] if routes else "ROUTE"
    key, header = ("YOUR-KEY", " -H 'Authorization: Bearer YOUR-KEY'") if has_keys else ("unused", "")
    print(
        f"""
Chat page   {url}
API         {url}/v1   routes: {", ".join(routes) or "none yet; add one to serving/"}

curl {url}/v1/chat/completions -H 'Content-Type: application/json'{header} \\
  -d '{{"model": "{route}", "messages": [{{"role": "user", "content": "What is llmops?"}}]}}'

from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="{key}")
answer = client.chat.completions.create(
    model="{route}", messages=[{{"role": "user", "content": "What is llmops?"}}]
)
print(answer.choices[0].message.content, answer.citations)

Ctrl-C stops it.
""",
        flush=True,
    )

"""`llmops up`: gateway and chat page in one process."""

from __future__ import annotations

from typing import Annotated

import typer

from llmops.cli.options import HERE, WorkspaceOption


def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8080,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Serve the API and the chat page until Ctrl-C."""
    from llmops.gateway.server import serve
    from llmops.settings import Settings
    from llmops.workspace.opened import Workspace

    opened = Workspace(workspace, Settings.from_environment(), command="llmops up")
    try:
        routes = list(opened.files.routes)
        serve(opened, host=host, port=port, on_ready=lambda url: _greet(url, routes))
    finally:
        opened.close()
    print("stopped; everything is saved")


def _greet(url: str, routes: list[str]) -> None:
    route = routes[0] if routes else "ROUTE"
    print(
        f"""
Chat page   {url}
API         {url}/v1   routes: {", ".join(routes) or "none yet; add one to serving/"}

curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{{"model": "{route}", "messages": [{{"role": "user", "content": "What is llmops?"}}]}}'

from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="unused")
answer = client.chat.completions.create(
    model="{route}", messages=[{{"role": "user", "content": "What is llmops?"}}]
)
print(answer.choices[0].message.content, answer.citations)

Only this machine can reach it. Ctrl-C stops it.
""",
        flush=True,
    )

"""llmops: an operations platform for LLM and RAG applications.

>>> import llmops
>>> with llmops.open("my-app") as app:  # doctest: +SKIP
...     app.ingest("docs")
...     print(app.ask("Where does a workspace keep its state?").text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmops.workspace.notebook import Notebook
    from llmops.workspace.notebook import open_notebook as open  # noqa: A004 (used as llmops.open)

__all__ = ["Notebook", "__version__", "open"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Names are loaded when they are used: `import llmops` costs nothing."""
    if name in ("open", "Notebook"):
        from llmops.workspace import notebook

        return notebook.open_notebook if name == "open" else notebook.Notebook
    raise AttributeError(f"module 'llmops' has no attribute {name!r}")

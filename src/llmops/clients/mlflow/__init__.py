"""The door to MLflow: versions of prompts and runs of evaluations, in our own file, a database or a server."""

from __future__ import annotations

from llmops.clients.mlflow.opening import open_registry
from llmops.clients.mlflow.records import EvalRun, PromptContent, PromptVersion
from llmops.clients.mlflow.registry import Registry

__all__ = ["EvalRun", "PromptContent", "PromptVersion", "Registry", "open_registry"]

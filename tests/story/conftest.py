from tests.cli.conftest import llmops, models

__all__ = ["llmops", "models"]

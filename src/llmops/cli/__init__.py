"""The command line: `llmops NOUN VERB`, the same nouns as the workspace's folders."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `llmops` command."""
    from llmops.cli.app import run

    sys.exit(run(sys.argv[1:]))

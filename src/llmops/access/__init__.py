"""Who belongs to which group: expanded when a search is made, so that a membership change writes no point."""

from llmops.access.groups import GroupBook

__all__ = ["GroupBook"]

"""What stands behind a name at this moment: aliases of collections."""

from llmops.releases.collections import CollectionBook, CollectionShape

__all__ = ["CollectionBook", "CollectionShape"]

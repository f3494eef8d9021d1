"""What stands behind a name at this moment, what stood there before, and on which evidence it was changed."""

from llmops.releases.aliases import PRODUCTION, Alias, Move, ReleaseBook
from llmops.releases.artifacts import Artifact, ArtifactBook
from llmops.releases.collections import CollectionBook, CollectionShape
from llmops.releases.verdicts import VerdictBook

__all__ = [
    "PRODUCTION",
    "Alias",
    "Artifact",
    "ArtifactBook",
    "CollectionBook",
    "CollectionShape",
    "Move",
    "ReleaseBook",
    "VerdictBook",
]

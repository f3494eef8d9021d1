"""Finding personal data by pattern and checksum, fast enough for every trace."""

from llmops.pii.scrub import scrub, scrub_value

__all__ = ["scrub", "scrub_value"]

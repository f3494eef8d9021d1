"""Traces and feedback: what happened for one inference, and what people said about it."""

from llmops.tracing.content import ContentVault
from llmops.tracing.feedback import FeedbackBook, feedback_on
from llmops.tracing.inference import Inference
from llmops.tracing.reader import TraceReader
from llmops.tracing.writer import TraceWriter

__all__ = ["ContentVault", "FeedbackBook", "Inference", "TraceReader", "TraceWriter", "feedback_on"]

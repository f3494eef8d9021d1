"""Datasets: questions with what is known about their answers, read from files and identified by their content."""

from llmops.datasets.examples import MAX_QUESTION_CHARACTERS, Dataset, load_examples, part_of, write_examples

__all__ = ["MAX_QUESTION_CHARACTERS", "Dataset", "load_examples", "part_of", "write_examples"]

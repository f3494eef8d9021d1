"""Datasets: questions with what is known about their answers, read from files and identified by their content."""

from llmops.datasets.examples import MAX_QUESTION_CHARACTERS, Dataset, load_examples, part_of, write_examples
from llmops.datasets.labels import Label, LabelPart, Labels, Relevant, label_json, labels_of, load_labels

__all__ = [
    "MAX_QUESTION_CHARACTERS",
    "Dataset",
    "Label",
    "LabelPart",
    "Labels",
    "Relevant",
    "label_json",
    "labels_of",
    "load_examples",
    "load_labels",
    "part_of",
    "write_examples",
]

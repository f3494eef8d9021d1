"""How a list of texts is spread over lanes: packed by length, a short queue, order kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SURROGATE = re.compile("[\ud800-\udfff]")


def packed(lengths: Sequence[int], *, max_tokens: int, max_texts: int | None = None) -> Iterator[list[int]]:
    """Rows of texts of like length, longest first.

    Args:
        lengths: tokens of each text.
        max_tokens: padded tokens of a batch; a text that is longer stands alone.
        max_texts: texts of a batch.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and ((len(batch) + 1) * lengths[batch[0]] > max_tokens or len(batch) == max_texts):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def gathered(
    batches: Iterable[list[int]],
    submit: Callable[[list[int]], Future[NDArray[np.float32]]],
    *,
    shape: tuple[int, int],
    n_waiting: int,
    on_progress: Callable[[int], None] | None,
) -> NDArray[np.float32]:
    """The vectors of all batches at the rows they belong to.

    Args:
        submit: begins a batch; its future holds one vector a row.
        shape: of the result, `(n_texts, dimension)`.
        n_waiting: batches begun and not finished; a long list does not make other callers wait for all of it.
        on_progress: called on the caller's thread with the size of each finished batch.
    """
    vectors = np.empty(shape, np.float32)
    left = iter(batches)
    running: dict[Future[NDArray[np.float32]], list[int]] = {}
    try:
        while True:
            while len(running) < n_waiting and (rows := next(left, None)) is not None:
                running[submit(rows)] = rows
            if not running:
                return vectors
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                rows = running.pop(future)
                vectors[rows] = future.result()
                if on_progress is not None:
                    on_progress(len(rows))
    finally:
        for future in running:
            future.cancel()


def whole_characters(text: str) -> str:
    """Half a surrogate pair is not text and is refused everywhere; a split pair is put together."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

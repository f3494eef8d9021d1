"""A byte stream, cut anywhere, becomes the same events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.clients.sse import EventSplitter, EventTooLargeError, data_of


def split(*pieces: bytes) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter()
    return [event for piece in pieces for event in splitter.feed(piece)], splitter.rest


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_end_at_blank_lines_whatever_the_line_end(end: bytes) -> None:
    stream = (b"data: 1\nevent: x\n\ndata: 2\n\n: ping\n\n\n\ndata: 3\n\ndata: rest").replace(b"\n", end)
    events, rest = split(stream)
    assert [data_of(event) for event in events] == [b"1", b"2", b"", b"3"]
    assert rest == b"data: rest"


def test_the_lines_of_one_event_are_joined() -> None:
    assert data_of(b"id: 7\ndata: a\ndata:b\ndata:\ndata:  c") == b"a\nb\n\n c"


def test_an_event_comes_as_soon_as_its_blank_line() -> None:
    splitter = EventSplitter()
    assert list(splitter.feed(b"data: 1\n")) == []
    assert list(splitter.feed(b"\n")) == [b"data: 1"]
    assert splitter.rest == b""


def test_an_event_without_end_is_refused() -> None:
    splitter = EventSplitter()
    with pytest.raises(EventTooLargeError, match="an event of more than 4000000 bytes"):
        for _ in range(5):
            list(splitter.feed(b"x" * 1_000_000))


_stream = st.lists(
    st.sampled_from(
        [b"data: a", b"data:", b":", b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b"x", b" ", "é".encode()]
    ),
    max_size=20,
).map(b"".join)


@given(_stream, st.data())
def test_the_events_do_not_depend_on_the_cuts(stream: bytes, data: st.DataObject) -> None:
    whole = split(stream + b"\n\nend")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert split(*pieces, b"\n\nend") == whole
    assert split(*(stream[i : i + 1] for i in range(len(stream))), b"\n\nend") == whole

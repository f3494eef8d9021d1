"""Server-sent events: bytes in pieces of any size, whole events out."""

from __future__ import annotations

from collections.abc import Iterator

_MAX_EVENT_BYTES = 4_000_000


class EventTooLargeError(ValueError):
    """One event is larger than 4 MB."""


class EventSplitter:
    """Splits a byte stream at blank lines, whatever the line ends and wherever the pieces are cut."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Complete events in `piece` and what was left of the last one, without their blank line."""
        buffer = self._buffer + piece
        if b"\r" in buffer:
            held = buffer.endswith(b"\r")  # its line feed may come with the next piece
            whole = (buffer[:-1] if held else buffer).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            buffer = whole + (b"\r" if held else b"")
        *events, self._buffer = buffer.split(b"\n\n")
        if len(self._buffer) > _MAX_EVENT_BYTES:
            raise EventTooLargeError(f"an event of more than {_MAX_EVENT_BYTES} bytes")
        return (event for event in events if event.strip())

    @property
    def rest(self) -> bytes:
        """What came after the last blank line."""
        return self._buffer.strip()


def data_of(event: bytes) -> bytes:
    """The `data:` lines of one event, joined; empty for comments and keep-alives."""
    lines = (line for line in event.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)

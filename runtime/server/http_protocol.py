"""uvicorn's HTTP/1.1 protocol, and a bound on the size of request lines and headers."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 << 10
LINGER_BYTES = 1 << 20  # read and dropped after a refusal, so that the client reads the answer
LINGER_SECONDS = 5.0
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 431 and hangs up once a head that has not ended is larger than MAX_HEAD_BYTES.

    Closing at once, with bytes unread, would reset the connection and lose the answer.
    """

    _in_head = True
    _refused = False
    _head_size = 0

    def on_message_begin(self) -> None:
        self._in_head, self._head_size = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._head_size += len(data)
        if self._head_size > LINGER_BYTES:
            self.transport.abort()
        elif self._head_size > MAX_HEAD_BYTES and not self._refused:
            self._refuse()

    def _refuse(self) -> None:
        self._refused = True
        self.transport.write(TOO_LARGE)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

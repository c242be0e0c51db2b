"""What a server accepts at most, and how it answers what it does not accept."""

import dataclasses
from typing import final


@final
class RequestError(Exception):
    """A mistake in a request, as one line; `status` is that of HTTP."""

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status


@final
@dataclasses.dataclass(frozen=True)
class Limits:
    """What one request may hold.

    Attributes:
        body: Bytes of its JSON.
        rows: Rows of its inputs, which are also those of a batch of several requests.
        string: Bytes of each string, a text or an encoded picture.
        waiting: Requests that wait for the model, of all clients.
    """

    body: int
    rows: int
    string: int
    waiting: int = 1024

    def check_body(self, size: int) -> None:
        if size > self.body:
            raise RequestError(f"a body of more than {self.body} bytes, the limit", 413)

    def check_rows(self, rows: int) -> None:
        if rows > self.rows:
            raise RequestError(f"{rows} rows; expected at most {self.rows}")

    def check_string(self, name: str, size: int) -> None:
        if size > self.string:
            raise RequestError(f"'{name}': {size} bytes; expected at most {self.string}")

    def check_waiting(self, count: int) -> None:
        if count >= self.waiting:
            raise RequestError(f"{count} requests wait already, the limit: try again later", 503)

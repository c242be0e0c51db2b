"""What goes with every response, and which hosts are answered."""

from typing import Any, final

# What a browser may do with the page: load from this server, ask it, and show what it has itself.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]
HOSTS = (b"127.0.0.1", b"localhost")


@final
class Guard:
    """Around an application: adds HEADERS, and refuses what is meant for another host.

    A page from elsewhere could point its own name at this machine, and then read the answers.
    """

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        async def send_with_headers(message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        if scope["type"] == "http" and not _is_meant(scope["headers"]):
            start = {"type": "http.response.start", "status": 400, "headers": []}
            await send_with_headers(start)
            error = b'{"error":"expected 127.0.0.1 or localhost as the host"}'
            await send({"type": "http.response.body", "body": error})
            return
        await self.app(scope, receive, send_with_headers)


def _is_meant(headers: list[tuple[bytes, bytes]]) -> bool:
    hosts = [value.rsplit(b":", 1)[0] for name, value in headers if name == b"host"]
    return all(host in HOSTS for host in hosts)

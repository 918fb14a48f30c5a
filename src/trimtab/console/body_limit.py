"""A limit on what a request may send, which is checked while it is read: a body fills no memory."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 2**20
MOST_FORM_BYTES = 64 * 2**10
"""Of the forms of signing in and out, which any sender reaches."""
FORMS = ("/sign-in", "/sign-out")


class BodyLimit:
    """Answers 413 to a request whose body is longer than MOST_BYTES, or MOST_FORM_BYTES for a form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; reading more than the limit raises HTTPException."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = MOST_FORM_BYTES if scope["path"] in FORMS else MOST_BYTES
        declared = Headers(scope=scope).get("content-length", "")
        read = int(declared) if declared.isdecimal() and int(declared) > most else 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > most:
                    raise HTTPException(413, f"the body of the request is too long; expected at most {most} bytes")
            return message

        await self._app(scope, limited, send)

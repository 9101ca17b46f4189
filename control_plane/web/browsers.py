"""Headers that tell browsers what an answer is not for: on every answer, errors and streams too.

Answers of the API are data. No page may frame them, run what is in them, or read them from another
site (what `web.cors` allows is another matter: it is asked for). Pages of our own say what more
they need; what they say stays.

`Strict-Transport-Security` is sent only when a setting says so, because only whoever runs the proxy
in front knows that this name is, and stays, reached by https.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

__all__ = ["HEADERS", "protect"]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
}


def protect(hsts_s: int) -> Callable[[web.BaseRequest, web.StreamResponse], Awaitable[None]]:
    """Return what puts them on an answer (a signal, `on_response_prepare`).

    `hsts_s` is how long browsers shall come by https only, in seconds; 0 says nothing of it.
    """
    headers = dict(HEADERS)
    if hsts_s:
        headers["Strict-Transport-Security"] = f"max-age={hsts_s}"

    async def mark(request: web.BaseRequest, answer: web.StreamResponse) -> None:
        for name, value in headers.items():
            answer.headers.setdefault(name, value)

    return mark

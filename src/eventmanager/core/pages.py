"""The interactive documentation, `/docs` and `/redoc`, served whole from our own origin.

Swagger UI and ReDoc are data files of `fastapi-standalone-docs`, whose functions we do not call.
The pages hold no inline script, so a strict Content-Security-Policy stands between a reader's token
and whatever text the schema shows. Every address in them is relative to the page, which makes them
right under any proxy prefix, told to us in `root_path` or not.
"""

import html
import secrets
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

_OURS: Final = Path(str(files("eventmanager.core"))) / "static"
_THEIRS: Final = Path(str(files("fastapi_standalone_docs"))) / "static"

# Served under a digest of all their contents, so what is at an address never changes.
_ASSETS: Final[Mapping[str, tuple[Path, str]]] = {
    "pages.css": (_OURS / "pages.css", "text/css"),
    "docs.js": (_OURS / "docs.js", "text/javascript"),
    "redoc.js": (_OURS / "redoc.js", "text/javascript"),
    "swagger-ui.css": (_THEIRS / "swagger" / "swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": (_THEIRS / "swagger" / "swagger-ui-bundle.js", "text/javascript"),
    "redoc.standalone.js": (_THEIRS / "redoc" / "redoc.standalone.js", "text/javascript"),
}
# The packaged ReDoc asks for its logo here, beside the page, in place of its maker's host.
_LOGO_PATH: Final = "/redoc/logo-mini.svg"
_LOGO: Final = _THEIRS / "redoc" / "logo-mini.svg"

_HARDENING: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_IMMUTABLE: Final = {"Cache-Control": "public, max-age=31536000, immutable", **_HARDENING}
_FOR_A_DAY: Final = {"Cache-Control": "public, max-age=86400", **_HARDENING}

_POLICY: Final = (
    "default-src 'none'",
    "script-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
)

_DOCS: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: try the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{assets}/swagger-ui.css">
<link rel="stylesheet" href="{assets}/pages.css">
<script src="{assets}/swagger-ui-bundle.js" defer></script>
<script src="{assets}/docs.js" defer></script>
</head>
<body>
<div id="docs" data-openapi="{openapi}"></div>
<noscript>This page needs JavaScript; <a href="{openapi}">the schema</a> does not.</noscript>
</body>
</html>
"""

_REDOC: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: reference</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{assets}/pages.css">
<script src="{assets}/redoc.js" nonce="{nonce}" defer></script>
<script src="{assets}/redoc.standalone.js" defer></script>
</head>
<body>
<div id="redoc" data-openapi="{openapi}"></div>
<noscript>This page needs JavaScript; <a href="{openapi}">the schema</a> does not.</noscript>
</body>
</html>
"""


def mount_pages(app: FastAPI) -> None:
    """Add `GET /docs`, `GET /redoc` and their static files to `app`, none of them in its schema.

    `app` is made with `docs_url=None` and `redoc_url=None`. The pages show what its `openapi_url`
    serves; where that is None there are no pages.
    """
    if app.openapi_url is None:
        return
    assets = f"docs/{_digest()}"
    known = {
        "title": html.escape(app.title),
        "assets": assets,
        "openapi": html.escape(app.openapi_url.lstrip("/")),
    }

    async def docs(_: Request) -> Response:
        return _page(_DOCS.format(**known), "style-src 'self'")

    async def redoc(_: Request) -> Response:
        # ReDoc makes style elements, to which redoc.js gives the nonce, and searches in a worker
        # that it builds from a blob.
        nonce = secrets.token_urlsafe(16)
        page = _REDOC.format(**known, nonce=nonce)
        return _page(page, f"style-src 'self' 'nonce-{nonce}'", "worker-src blob:")

    app.add_route("/docs", docs, methods=["GET"], include_in_schema=False)
    app.add_route("/redoc", redoc, methods=["GET"], include_in_schema=False)
    logo = _file(_LOGO, "image/svg+xml", _FOR_A_DAY)
    app.add_route(_LOGO_PATH, logo, methods=["GET"], include_in_schema=False)
    for name, (path, media_type) in _ASSETS.items():
        asset = _file(path, media_type, _IMMUTABLE)
        app.add_route(f"/{assets}/{name}", asset, methods=["GET"], include_in_schema=False)


def _digest() -> str:
    """Name the present contents of all assets: another release of any of them has another name."""
    whole = sha256()
    for name, (path, _) in _ASSETS.items():
        whole.update(name.encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def _page(text: str, *policy: str) -> Response:
    headers = {
        "Content-Security-Policy": "; ".join((*_POLICY, *policy)),
        "Cache-Control": "no-cache",
        **_HARDENING,
    }
    return HTMLResponse(text, headers=headers)


def _file(
    path: Path, media_type: str, headers: Mapping[str, str]
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return FileResponse(path, media_type=media_type, headers=headers)

    return answer

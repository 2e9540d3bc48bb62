"""The documentation pages: whole, from our own origin, under a strict policy."""

from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from eventmanager.core.pages import mount_pages

ORIGIN: Final = "http://testserver"
PAGES: Final = ("/docs", "/redoc")
SCRIPT: Final = "text/javascript; charset=utf-8"
STYLE: Final = "text/css; charset=utf-8"


class Page(HTMLParser):
    """What a browser would fetch for a page, and what it would run or apply from within it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.inline: list[str] = []
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag refers to, and any handler or style written into it."""
        self._inside = tag
        for name, value in attrs:
            if name in {"href", "src", "data-openapi"}:
                self.references.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(f"{tag} {name}={value}")

    def handle_endtag(self, _tag: str) -> None:
        """Leave the element: scripts and styles hold no others."""
        self._inside = None

    def handle_data(self, data: str) -> None:
        """Note the text of a script or a style."""
        if self._inside in {"script", "style"} and data.strip():
            self.inline.append(data)


def documented(*, title: str = "Event Manager") -> FastAPI:
    """Make an app that has nothing but the pages."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    mount_pages(app)
    return app


def browser(app: ASGIApp, *, root_path: str = "") -> httpx.AsyncClient:
    """Open a client on `app`, as a proxy would that adds `root_path` to every path."""
    transport = httpx.ASGITransport(app=app, root_path=root_path)
    return httpx.AsyncClient(transport=transport, base_url=ORIGIN)


def policy(response: httpx.Response) -> dict[str, list[str]]:
    """Read the Content-Security-Policy as its directives and their sources."""
    rules = [rule.split() for rule in response.headers["Content-Security-Policy"].split(";")]
    return {name: sources for name, *sources in rules}


async def fetched(client: httpx.AsyncClient, path: str) -> dict[str, str]:
    """Fetch a page and all it refers to; give each address's path and content type."""
    response = await client.get(path)
    assert response.status_code == 200
    types = {}
    for reference in Page(response.text).references:
        if reference != "data:,":
            answer = await client.get(urljoin(str(response.url), reference))
            assert answer.status_code == 200, reference
            types[answer.url.path] = answer.headers["Content-Type"]
    return types


@pytest.mark.parametrize("path", PAGES)
async def test_page_comes_with_a_strict_policy(path: str) -> None:
    """Nothing inline runs, nothing goes to another host, and no other site may frame the page."""
    async with browser(documented()) as client:
        response = await client.get(path)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    rules = policy(response)
    styles, workers = rules.pop("style-src"), rules.pop("worker-src", [])
    assert rules == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
    assert styles[0] == "'self'"
    assert "'unsafe-inline'" not in styles
    assert workers == (["blob:"] if path == "/redoc" else [])


@pytest.mark.parametrize("path", PAGES)
async def test_page_holds_nothing_inline_and_names_no_other_host(path: str) -> None:
    """The pages work with no network beyond us, and the policy has nothing to refuse in them."""
    async with browser(documented()) as client:
        page = Page((await client.get(path)).text)

    assert page.inline == []
    assert page.references
    for reference in page.references:
        parts = urlsplit(reference)
        assert parts.netloc == ""
        assert parts.scheme == "" or reference == "data:,"


async def test_every_file_a_page_needs_is_served_with_its_type() -> None:
    """With `nosniff`, a script or style under another type would be refused by the browser."""
    async with browser(documented()) as client:
        docs = await fetched(client, "/docs")
        redoc = await fetched(client, "/redoc")
        logo = await client.get("/redoc/logo-mini.svg")

    def named(types: dict[str, str]) -> dict[str, str]:
        return {path.rsplit("/", 1)[-1]: media_type for path, media_type in types.items()}

    assert named(docs) == {
        "swagger-ui.css": STYLE,
        "pages.css": STYLE,
        "swagger-ui-bundle.js": SCRIPT,
        "docs.js": SCRIPT,
        "openapi.json": "application/json",
    }
    assert named(redoc) == {
        "pages.css": STYLE,
        "redoc.js": SCRIPT,
        "redoc.standalone.js": SCRIPT,
        "openapi.json": "application/json",
    }
    assert logo.status_code == 200
    assert logo.headers["Content-Type"] == "image/svg+xml"


async def test_packaged_redoc_takes_its_logo_from_us() -> None:
    """ReDoc as its maker ships it asks another host for the logo; ours must be the mended one."""
    async with browser(documented()) as client:
        text = (await client.get("/redoc")).text
        source = next(ref for ref in Page(text).references if "redoc.standalone" in ref)
        bundle = (await client.get(f"/{source}")).text

    assert "cdn.redoc.ly" not in bundle
    assert '"/logo-mini.svg"' in bundle


async def test_files_are_kept_for_good_and_pages_are_asked_for_again() -> None:
    """A file's address changes with its contents, so only the page may ever be out of date."""
    async with browser(documented()) as client:
        page = await client.get("/docs")
        files = [ref for ref in Page(page.text).references if ref.startswith("docs/")]
        answers = [await client.get(f"/{ref}") for ref in files]

    assert page.headers["Cache-Control"] == "no-cache"
    assert len(answers) == 4
    for answer in answers:
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", PAGES)
async def test_pages_work_under_a_prefix(path: str) -> None:
    """Behind a proxy that serves us under a prefix, or mounted in another app, nothing is lost."""
    mounted = Starlette(routes=[Mount("/calendar", documented())])
    async with browser(mounted) as client:
        under_mount = await fetched(client, f"/calendar{path}")
    async with browser(documented(), root_path="/calendar") as client:
        under_root_path = await fetched(client, f"/calendar{path}")

    assert under_mount == under_root_path
    assert under_mount.keys() > {"/calendar/openapi.json"}
    assert all(address.startswith("/calendar/") for address in under_mount)


async def test_redoc_style_nonce_is_fresh_each_time() -> None:
    """A nonce that can be guessed or replayed protects nothing."""
    async with browser(documented()) as client:
        first, second = await client.get("/redoc"), await client.get("/redoc")

    nonces = []
    for response in (first, second):
        (source,) = (s for s in policy(response)["style-src"] if s.startswith("'nonce-"))
        nonce = source.removeprefix("'nonce-").removesuffix("'")
        assert f'nonce="{nonce}"' in response.text
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


async def test_title_cannot_break_out_of_the_page() -> None:
    """The title is a setting of the operator's, and text, whatever it holds."""
    async with browser(documented(title="</title><script>{alert}</script>")) as client:
        for path in PAGES:
            page = Page((await client.get(path)).text)
            assert page.inline == []


async def test_schema_tells_of_no_page() -> None:
    """The pages show the API; they are no part of it."""
    app = documented()

    assert app.openapi()["paths"] == {}


async def test_app_without_a_schema_has_no_pages() -> None:
    """An operator who hides the schema hides what shows it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    mount_pages(app)

    async with browser(app) as client:
        assert [(await client.get(path)).status_code for path in PAGES] == [404, 404]

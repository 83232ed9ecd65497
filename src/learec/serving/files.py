"""The files that browsers get: the page and the API's documentation, read at the start. No URL ever becomes a path.

Everything is of the package, nothing from another host, and the policy says so to the browser.
"""

from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

TYPES = {
    "html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}  # fmt: skip
STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI writes style attributes.
DOCS_POLICY = STRICT.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
DOCS_PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>learec: API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="docs"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
DOCS_START = b'SwaggerUIBundle({url: "openapi.json", dom_id: "#docs", tryItOutEnabled: true})\n'


@dataclass(frozen=True)
class File:
    """What is sent for a path."""

    content: bytes
    media_type: str
    policy: str = STRICT

    @property
    def headers(self) -> dict[str, str]:
        """Asked for anew at every visit, so that an update is seen at once."""
        return {"Content-Security-Policy": self.policy, "Cache-Control": "no-cache", "Referrer-Policy": "no-referrer"}


def page_files() -> dict[str, File]:
    """The page's files by path; index.html is / too."""
    found = {f"/{file.name}": _read(file) for file in (files("learec.serving") / "page").iterdir()}
    return {**found, "/": found["/index.html"]}


def docs_files() -> dict[str, File]:
    """Swagger UI by path, from the package fastapi_swagger."""
    folder = files("fastapi_swagger") / "resources"
    ours = {"/docs": File(DOCS_PAGE, TYPES["html"]), "/docs/start.js": File(DOCS_START, TYPES["js"])}
    theirs = {f"/docs/{name}": _read(folder / name) for name in ("swagger-ui-bundle.js", "swagger-ui.css")}
    return {path: File(file.content, file.media_type, DOCS_POLICY) for path, file in {**ours, **theirs}.items()}


def _read(file: Traversable) -> File:
    return File(file.read_bytes(), TYPES[file.name.rpartition(".")[2]])

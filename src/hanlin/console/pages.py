"""Templates and what all of them know."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.responses import HTMLResponse

import hanlin
from hanlin.console.display import FILTERS, span, visible
from hanlin.console.i18n import NAMES, TAGS

if TYPE_CHECKING:
    from hanlin.console.visit import Visit

STATIC = Path(__file__).parent / "static"
ICONS = STATIC / "vendor" / "icons"
ICON_NAME = re.compile(r"[a-z0-9-]+")


class Pages:
    """Renders templates for visits."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("hanlin.console"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            finalize=visible,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(FILTERS)
        self._environment.globals.update(
            icon=icon,
            asset=asset,
            span=span,
            languages=NAMES,
            product_version=hanlin.__version__,
            has_assets=ICONS.is_dir(),
        )

    def render(self, visit: Visit, template: str, *, status: int = 200, **context: Any) -> Response:
        """Return the answer that *template* makes for *visit*."""
        return HTMLResponse(self.fragment(visit, template, **context), status)

    def fragment(self, visit: Visit, template: str, **context: Any) -> str:
        """Return the HTML that *template* makes for *visit*."""
        known = {
            "_": visit.text,
            "word": visit.catalogue.word,
            "knows": visit.catalogue.knows,
            "ordered": visit.catalogue.ordered,
            "may": visit.may,
            "visit": visit,
            "language": visit.catalogue.language,
            "language_tag": TAGS[visit.catalogue.language],
            "here": lambda **changes: here(visit.request, **changes),
        }
        return self._environment.get_template(template).render(known | context)


def here(request: Request, **changes: object) -> str:
    """Return the address of this page with some of its query changed; None takes a part away."""
    query = {name: value for name, value in request.query_params.items() if name not in changes}
    query |= {name: str(value) for name, value in changes.items() if value is not None}
    return f"{request.url.path}?{urlencode(query)}" if query else request.url.path


@cache
def icon(name: str, label: str = "") -> Markup:
    """Return an icon as inline SVG; decoration unless it has a *label*."""
    path = ICONS / f"{name}.svg"
    if not ICON_NAME.fullmatch(name) or not path.is_file():
        return Markup("")
    drawing = path.read_text(encoding="utf-8").partition("<svg")[2].partition(">")[2]
    meaning = Markup('role="img" aria-label="{}"').format(label) if label else Markup('aria-hidden="true"')
    frame = (
        '<svg class="icon" width="24" height="24" viewBox="0 0 24 24" fill="none" stroke="currentColor"'
        ' stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" {}>'
    )
    return Markup(frame).format(meaning) + Markup(drawing)  # noqa: S704 - a file of ours


@cache
def asset(path: str) -> str:
    """Return the address of a static file; it changes with the file, so that browsers may keep what they have."""
    file = STATIC / path
    mark = hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.is_file() else "missing"
    return f"/static/{path}?{mark}"

"""Pages that need nothing else: templates of this folder, with one style, one script, and a policy that allows no more."""

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from learec.evaluation.figures import duration, number, probability, share, signed


def render_page(template: str, values: dict[str, Any]) -> str:
    """Render a page. Everything in `values` that is not Markup is shown as text, whatever it looks like."""
    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, signed=signed, share=share, duration=duration, probability=probability)
    script = Markup(_text("report.js"))  # noqa: S704 (a file of this package)
    return environment.get_template(template).render(**values, script=script, policy=policy_for(script))


def policy_for(script: str) -> str:
    """The Content-Security-Policy under which this script may run, and nothing may be fetched or sent."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _template(name: str) -> str:
    """A page, or a part of one."""
    return _text(f"{name}.html.jinja")


def _text(name: str) -> str:
    return files("learec.evaluation").joinpath(name).read_text(encoding="utf-8")

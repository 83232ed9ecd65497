"""Nested settings as TOML text that people like to read; the standard library reads TOML and does not write it."""

import json
import re
from collections.abc import Mapping
from typing import Any

WIDTH = 120
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(settings: Mapping[str, Any]) -> str:
    """Plain settings first, then a [section] for every table, or for every table in a table of tables; deeper ones inline.

    Values may be text, numbers, booleans, lists and tables (keys are text); `tomllib.loads` gives them back as they were.
    """
    lines = [_setting(key, value) for key, value in settings.items() if not isinstance(value, Mapping)]
    for key, table in settings.items():
        if not isinstance(table, Mapping):
            continue
        named = bool(table) and all(isinstance(value, Mapping) for value in table.values())
        sections = {f"{_key(key)}.{_key(name)}": inner for name, inner in table.items()} if named else {_key(key): table}
        for title, section in sections.items():
            lines += ["", f"[{title}]", *(_setting(name, value) for name, value in section.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _setting(key: str, value: Any) -> str:
    line = f"{_key(key)} = {_inline(value)}"
    if len(line) <= WIDTH or not isinstance(value, (list, tuple)):
        return line
    return "\n".join([f"{_key(key)} = [", *(f"    {_inline(one)}," for one in value), "]"])


def _key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else _inline(key)


def _inline(value: Any) -> str:
    if isinstance(value, str):  # TOML's escapes are JSON's; it wants one more character escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(key)} = {_inline(inner)}" for key, inner in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    raise TypeError(f"TOML has no {type(value).__name__}")

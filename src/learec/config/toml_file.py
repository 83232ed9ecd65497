"""Reading a TOML file, and the one sentence for one that cannot be read."""

import tomllib
from pathlib import Path
from typing import Any

from learec.errors import ConfigError


def read_toml(path: Path, what: str, example: str) -> dict[str, Any]:
    """The tables of a file; `what` it should be and an `example` of one go into the error. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such {what}; pass the path of a .toml file, such as {example}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; pass the path of a .toml file, such as {example}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error}); mend that place and run again") from None

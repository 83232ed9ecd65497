"""Libraries that serving needs only now and then: a missing one is named with the command that installs it."""

from collections.abc import Iterator
from contextlib import contextmanager

from learec.errors import ConfigError

SERVICE = ("fastapi", "fastapi_swagger", "starlette", "uvicorn", "uvloop", "httptools", "orjson", "prometheus_client", "redis")
EXTRAS = {"onnx": "export", "onnxscript": "export", "faiss": "index", "onnxruntime": "serve"} | dict.fromkeys(SERVICE, "serve")


@contextmanager
def libraries_for(what: str, instead: str = "") -> Iterator[None]:
    """Raise ConfigError if an import inside fails because a library is not installed. `instead` is another way out."""
    try:
        yield
    except ModuleNotFoundError as missing:
        name = str(missing.name).partition(".")[0]
        package = f"'learec[{EXTRAS[name]}]'" if name in EXTRAS else name
        raise ConfigError(f"{what} needs {name}, which is not installed; run `pip install {package}`{instead}") from None

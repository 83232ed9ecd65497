"""The routes, as FastAPI describes them in /openapi.json and /docs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException

from learec.serving.files import File, docs_files, page_files
from learec.serving.limits import MAX_FOUND, MAX_NAME
from learec.serving.messages import (
    MODEL_HEADER,
    Event,
    EventsBody,
    Forgotten,
    FoundItems,
    Health,
    K,
    ListedModels,
    Ready,
    RecommendBody,
    Recommended,
    Stored,
    TestSession,
    Text,
    UserRecommended,
    errors,
)
from learec.serving.metrics import CONTENT_TYPE
from learec.serving.problems import Problem, shown, unfit
from learec.serving.service import Service

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(_service)]
# The door leaves these paths encoded, because a user id may hold a slash.
UserId = Annotated[str, Path(min_length=1, max_length=MAX_NAME), BeforeValidator(unquote)]
OF_BODIES = errors(400, 404, 413, 415, 422, 503)
OF_USERS = errors(404, 422, 503)
routes = APIRouter(responses=errors(401))


@routes.post("/recommend", responses=errors(400, 404, 413, 422, 503))
async def recommend(body: RecommendBody, service: Here, response: Response) -> Recommended:
    """The k best items after one history, or after each of many. Ids that are not known are ignored and reported."""
    answered = await service.recommend(body)
    response.headers[MODEL_HEADER] = answered.model.header
    return answered


@routes.get("/items", responses=errors(422))
def items(
    service: Here,
    query: Annotated[str, Query(max_length=MAX_NAME)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_FOUND)] = 20,
) -> FoundItems:
    """Items by title: case and accents do not matter, titles that begin with the query come first."""
    return service.found(query, limit)


@routes.get("/models")
async def models(service: Here) -> ListedModels:
    """The served agents of the run, the default one first."""
    return service.listed()


@routes.get("/sessions/random", responses=errors(404))
async def random_session(service: Here) -> TestSession:
    """A real session that was held out for the test: what came before, and what came next."""
    return service.random_session()


@routes.post("/events", status_code=201, responses=OF_BODIES)
async def events(body: EventsBody, service: Here) -> Stored:
    """Keep what users did. The reply comes when it is on disk."""
    return Stored(await service.keep([body] if isinstance(body, Event) else body.events))


@routes.get("/users/{user_id}/recommendations", responses=OF_USERS)
async def recommend_user(
    user_id: UserId, service: Here, response: Response, k: K = 10, model: Annotated[Text | None, Query()] = None
) -> UserRecommended:
    """The k best items after a user's kept events; for a user who is not known the most popular ones."""
    answered = await service.recommend_user(user_id, k, model)
    response.headers[MODEL_HEADER] = answered.model.header
    return answered


@routes.delete("/users/{user_id}", responses=OF_USERS)
async def forget(user_id: UserId, service: Here) -> Forgotten:
    """Delete everything that is kept of a user."""
    return Forgotten(await service.forget(user_id))


@routes.get("/health")
async def health() -> Health:
    """The process answers. Needs no token."""
    return Health()


@routes.get("/ready", responses={503: {"model": Ready, "description": "no more requests, please: it is about to stop"}})
async def ready(service: Here, response: Response) -> Ready:
    """Whether requests should come here; also which models could not be loaded, and why."""
    found = service.ready()
    response.status_code = 200 if found.ready else 503
    return found


@routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: Here) -> Response:
    """Counts and durations, as Prometheus reads them."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def make_app(service: Service, *, token: bool = False, lifespan: Lifespan | None = None) -> FastAPI:
    """The application; door.Door goes around it. `token`: say in /openapi.json that one is needed."""
    app = FastAPI(
        title="learec", version=version("learec"), docs_url=None, redoc_url=None, lifespan=lifespan or _nothing,
        redirect_slashes=False,
        description="Recommends items after a history of items. No language model is at work here.",
    )  # fmt: skip
    app.state.service = service
    app.include_router(routes)
    for path, file in {**docs_files(), **page_files()}.items():
        app.add_api_route(path, _sends(file), include_in_schema=False, response_class=Response)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _problem)
    app.add_exception_handler(HTTPException, _problem)
    app.add_exception_handler(Exception, _problem)
    if token:
        _ask_for_token(app)
    return app


def _sends(file: File) -> Callable[[], Any]:
    async def send() -> Response:
        return Response(file.content, media_type=file.media_type, headers=file.headers)

    return send


async def _problem(request: Request, error: Exception) -> Response:
    """Every error is {"error": sentence}."""
    problem = _as_problem(request, error)
    return JSONResponse({"error": problem.sentence}, problem.status, problem.headers)


def _as_problem(request: Request, error: Exception) -> Problem:
    where = f"{request.method} {request.url.path}"
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError) and isinstance(error.body, bytes):
        # FastAPI takes a body of another type for no JSON; browsers may send such bodies to hosts that they were not asked by.
        kind = request.headers.get("content-type", "none")
        return Problem(415, f"{where}: the body's Content-Type is {shown(kind)}, wanted application/json; send it as a header")
    if isinstance(error, RequestValidationError):
        return unfit(list(error.errors()))
    if isinstance(error, HTTPException):
        allowed = (error.headers or {}).get("Allow", "another")
        said = {404: "there is nothing here", 405: f"wrong method, wanted {allowed}"}.get(error.status_code, error.detail)
        return Problem(error.status_code, f"{where}: {said}; /docs shows what may be sent", error.headers)
    return Problem(500, "the server failed at this; its log says why")


def _ask_for_token(app: FastAPI) -> None:
    described = app.openapi()  # FastAPI keeps it
    described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{"token": []}]
    described["paths"]["/health"]["get"]["security"] = []


@asynccontextmanager
async def _nothing(_: FastAPI) -> AsyncIterator[None]:
    yield

"""The application: a page, and the REST interface of TF Serving for one model."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from examples.serving import tensors
from examples.serving.batcher import Batcher
from examples.serving.guard import Guard
from examples.serving.limits import Limits, RequestError
from examples.serving.model import VERSION, Model, key_of
from examples.serving.pages import File

# So many times the limit of a body is read and thrown away: a client that is still sending would
# not see why it is refused.
DRAINED = 8


def make_app(model: Model, name: str, page: Mapping[str, File], limits: Limits) -> FastAPI:
    """The application for one model; `name` is what clients call it."""
    batches = Batcher(model.run, limits)

    @asynccontextmanager
    async def lifespan(_) -> AsyncIterator[None]:
        yield
        batches.close()

    # FastAPI's own pages would load from elsewhere.
    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    for path, file in page.items():
        app.add_api_route(path, partial(_give, file), methods=["GET"])

    def check(asked: str, version: int | None) -> None:
        if asked != name or version not in (None, VERSION):
            which = asked if version is None else f"{asked}, version {version}"
            raise RequestError(f"no model {which}; expected {name}, version {VERSION}", 404)

    async def status(asked: str, version: int | None = None) -> Response:
        check(asked, version)
        return _respond(model.status())

    async def metadata(asked: str, version: int | None = None) -> Response:
        check(asked, version)
        return _respond(model.metadata(name))

    async def predict(request: Request, asked: str, version: int | None = None) -> Response:
        check(asked, version)
        question = _parse(await _read(request, limits))
        signature_name = question.get("signature_name", "") or "serving_default"
        signature = model.signature(signature_name)
        by_rows = "instances" in question
        if by_rows:
            inputs = tensors.from_rows(question["instances"], signature.inputs, limits)
        else:
            inputs = tensors.from_columns(question["inputs"], signature.inputs, limits)
        key = key_of(signature_name, inputs)
        outputs = await batches(key, inputs, signature.rows(inputs))
        if by_rows:
            return _respond({"predictions": tensors.to_rows(outputs)})
        return _respond({"outputs": tensors.to_columns(outputs)})

    for base in ("/v1/models/{asked}", "/v1/models/{asked}/versions/{version}"):
        app.add_api_route(f"{base}:predict", predict, methods=["POST"])
        app.add_api_route(f"{base}/metadata", metadata, methods=["GET"])
        app.add_api_route(base, status, methods=["GET"])
    app.add_exception_handler(RequestError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_path)
    app.add_exception_handler(RequestValidationError, _refuse_path)
    app.add_exception_handler(Exception, _fail)
    app.add_middleware(Guard)
    return app


async def _give(file: File) -> Response:
    return Response(file.content, media_type=file.media_type)


async def _read(request: Request, limits: Limits) -> bytes:
    body, size = bytearray(), 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= limits.body:
                body += chunk
            elif size > DRAINED * limits.body:
                break
    except ClientDisconnect:
        raise RequestError("the connection ended within the body") from None
    limits.check_body(size)
    return bytes(body)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        question = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"not JSON ({error})") from None
    if not isinstance(question, dict):
        raise RequestError("expected a JSON object")
    if ("instances" in question) == ("inputs" in question):
        raise RequestError("expected one of 'instances' and 'inputs'")
    if not isinstance(question.get("signature_name", ""), str):
        raise RequestError("'signature_name': expected a string")
    return question


# ---------------------------------------------------------------- responses


def _respond(content: Any, status: int = 200) -> Response:
    # NaN and Infinity are written as such, as TF Serving does.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    headers = {"connection": "close"} if status == 413 else None
    return Response(text.encode("utf-8", "replace"), status, headers, "application/json")


async def _refuse(_, error: RequestError) -> Response:
    return _respond({"error": str(error)}, error.status)


async def _refuse_path(request: Request, error: Exception) -> Response:
    """A path or a method that is not there: within the interface a malformed request."""
    path = request.url.path
    if path.startswith("/v1/"):
        return _respond({"error": f"malformed request: {request.method} {path}"}, 400)
    return _respond({"error": f"nothing at {path}"}, getattr(error, "status_code", 404))


async def _fail(*_) -> Response:
    return _respond({"error": "the server failed; its output tells where"}, 500)

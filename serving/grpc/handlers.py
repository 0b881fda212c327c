"""Handlers of gRPC methods: of one message, and of a stream of messages."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

import grpc
from google.protobuf.message import DecodeError, Message

from serving.errors import ServingError
from serving.grpc import status_codes
from serving.http.request_id import new_request_id, valid_request_id
from serving.http.route_match import AuthCheck
from serving.protocol import inference_pb2 as pb

# Requests of one stream that are handled at once, so that they can share a batch.
MAX_STREAMED = 64

Context = grpc.aio.ServicerContext[bytes, Message]
# Response, status and its details.
Outcome = tuple[Message | None, grpc.StatusCode, str]
# Takes message, metadata and request ID.
RpcCall = Callable[[bytes, Mapping[str, str], str], Awaitable[Outcome]]


def unary_handler(call: RpcCall) -> Callable[[bytes, Context], Awaitable[Message | None]]:
    """Return a handler that responds to a message, or ends the call with its error."""

    async def handle(content: bytes, context: Context) -> Message | None:
        metadata = _text_metadata(context.invocation_metadata())
        request_id = valid_request_id(metadata.get("x-request-id", "")) or new_request_id()
        context.set_trailing_metadata((("x-request-id", request_id),))
        response, code, details = await call(content, metadata, request_id)
        if response is None:
            await context.abort(code, details)
        return response

    return handle


def stream_handler(
    call: RpcCall, check: AuthCheck | None
) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[Message]]:
    """Return a handler that yields the responses to the messages of a stream in their order.

    A message that fails is answered with its error, and the stream goes on.
    """

    async def respond(content: bytes, metadata: Mapping[str, str]) -> Message:
        response, _, details = await call(content, metadata, new_request_id())
        if isinstance(response, pb.ModelInferResponse):
            return pb.ModelStreamInferResponse(infer_response=response)
        # As Triton does, so that the client knows which message failed.
        failed = pb.ModelInferResponse(id=_message_id(content))
        return pb.ModelStreamInferResponse(error_message=details, infer_response=failed)

    async def handle(contents: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        metadata = _text_metadata(context.invocation_metadata())
        try:
            if check is not None:
                check(metadata.get("authorization", ""))
        except ServingError as error:
            await context.abort(*status_codes.status(error))
        slots = asyncio.Semaphore(MAX_STREAMED)
        tasks: asyncio.Queue[asyncio.Task[Message] | None] = asyncio.Queue()

        async def read() -> None:
            try:
                async for content in contents:
                    await slots.acquire()
                    tasks.put_nowait(asyncio.create_task(respond(content, metadata)))
            finally:
                tasks.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while (task := await tasks.get()) is not None:
                yield await task
                slots.release()
        finally:
            reader.cancel()
            while not tasks.empty():
                if (task := tasks.get_nowait()) is not None:
                    task.cancel()

    return handle


def _message_id(content: bytes) -> str:
    try:
        return str(pb.ModelInferRequest.FromString(content).id)
    except DecodeError:
        return ""


def _text_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    return {name: value for name, value in metadata or () if isinstance(value, str)}

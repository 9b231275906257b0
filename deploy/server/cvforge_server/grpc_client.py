"""A client by gRPC: several images in one call, without base64. It needs `client.py` beside it, and the extra `grpc`.

from cvforge_server.grpc_client import GrpcClient
with GrpcClient("127.0.0.1:8081", model="det_bccd", token="...") as client:
    for result in client.predict_many(["a.jpg", "b.jpg"], score_threshold=0.5):
        print(result)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cvforge_server.client import (
    ClientError,
    ImageSource,
    Result,
    Tries,
    content_of,
    name_of,
    option_text,
    parsed,
    results_of,
)

if TYPE_CHECKING:
    import grpc

PACKAGE = "org.pytorch.serve.grpc.inference"
METHOD = f"/{PACKAGE}.InferenceAPIsService/Predictions"
"""TorchServe's own: it hands on what the fields hold as it is, and options too."""
WAITED_FOR, FATAL = "UNAVAILABLE", "INTERNAL"
"""The latter is what TorchServe says when a worker died, and also when the queue is full, which its message tells apart."""
NO_ROOM = "has no worker to serve inference request"
FIELD = "image"


class GrpcClient:
    """Asks one model of a server. May be used from several threads.

    Args:
        target: host and port of the server's gRPC interface.
        model: name under which it is served.
        token: of the server; None where a proxy asks for none.
        timeout_s: for one try, from its beginning to its answer.
        retries: further tries where the server does not answer or has no room, later and later; after an error within it, which
            may be a worker that died of this request, one at most.
        credentials: of TLS, as `grpc.ssl_channel_credentials` makes them; None for none, which only loopback is fit for.

    Raises:
        ImportError: grpcio or protobuf is not installed.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str,
        token: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 4,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        import grpc

        request_class, response_class = _message_classes()
        unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self._channel = (
            grpc.insecure_channel(target, options=unlimited)
            if credentials is None
            else grpc.secure_channel(target, credentials, options=unlimited)
        )
        self._call = self._channel.unary_unary(
            METHOD, request_serializer=request_class.SerializeToString, response_deserializer=response_class.FromString
        )
        self._request_class, self._model = request_class, model
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        self._timeout_s, self._retries = timeout_s, retries

    def predict(self, image: ImageSource, **options: Any) -> Result:
        """What the model says about one image.

        Args:
            image: content of a JPEG, PNG or WebP file, or its path.
            **options: as for `Client.predict`.

        Raises:
            ClientError: the server refused the image or did not answer; `code` says why.
            OSError: the file cannot be read.
        """
        (result,) = self.predict_many([image], **options)
        if isinstance(result, ClientError):
            raise result
        return result

    def predict_many(self, images: Sequence[ImageSource], **options: Any) -> list[Result | ClientError]:
        """What the model says about each of several images, in one call; one that is refused stands as its error.

        Args:
            images: as for `predict`; as many as the server accepts in one request.
            **options: for all of them.

        Raises:
            ClientError: the server refused the request or did not answer; `code` is that of the server's documentation, or
                the name of gRPC's status.
            OSError: a file cannot be read.
        """
        fields = {name: option_text(value).encode("utf-8") for name, value in options.items()}
        for number, image in enumerate(images):
            fields[f"{FIELD}{number}"] = content_of(image)
        value = parsed(self._ask(fields), status=0)
        if isinstance(value, dict) and isinstance(value.get("results"), list):
            value["results"] = _in_order(value["results"], [name_of(image, i) for i, image in enumerate(images)])
        return results_of(value, status=0, count=len(images))

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> GrpcClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, fields: Mapping[str, bytes]) -> bytes:
        import grpc

        request = self._request_class(model_name=self._model, input=fields)
        tries = Tries(self._retries)
        while True:
            try:
                response = self._call(request, timeout=self._timeout_s, metadata=self._metadata)
            except grpc.RpcError as error:
                status, details = error.code().name, str(error.details())
                fatal = status == FATAL and NO_ROOM not in details
                if status not in (WAITED_FOR, FATAL) or not tries.again(fatal=fatal):
                    raise ClientError(f"{status}: {details}", code=status) from None
            else:
                return bytes(response.prediction)


def _in_order(entries: list[Any], names: Sequence[str]) -> list[Any]:
    """Results by the order and the names of their images: gRPC sends fields in whichever order it likes."""
    known = {entry.get("image"): entry for entry in entries if isinstance(entry, dict)}
    found = [(known.get(f"{FIELD}{number}"), name) for number, name in enumerate(names)]
    return [{**entry, "image": name} for entry, name in found if entry is not None]


@functools.cache
def _message_classes() -> tuple[Any, Any]:
    """Request and response, made here of what goes over the wire: names and numbers of fields."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="cvforge/predictions.proto", package=PACKAGE, syntax="proto3")
    request, response = (
        file.message_type.add(name="PredictionsRequest"),
        file.message_type.add(name="PredictionResponse"),
    )
    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    request.field.add(name="model_name", number=1, type=kinds.TYPE_STRING, label=one)
    request.field.add(
        name="input",
        number=3,
        type=kinds.TYPE_MESSAGE,
        label=many,
        type_name=f".{PACKAGE}.PredictionsRequest.InputEntry",
    )
    entry = request.nested_type.add(name="InputEntry")  # a map<string, bytes>
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=one)
    entry.field.add(name="value", number=2, type=kinds.TYPE_BYTES, label=one)
    response.field.add(name="prediction", number=1, type=kinds.TYPE_BYTES, label=one)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"{PACKAGE}.{message.name}") for message in (request, response))
    request_class, response_class = map(message_factory.GetMessageClass, found)
    return request_class, response_class

"""Parse protobuf that holds text cut in the middle of a character, as attribute length limits do.

Protobuf refuses a whole message for one such string. Reading the same bytes by a schema whose strings are
bytes lets us mend just those strings.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError, Message

from assay.errors import MalformedTelemetry


def parse(body: bytes, request_type: Any) -> Any:
    """The request of this type, with U+FFFD for what is no text. Raises MalformedTelemetry where it is none."""
    try:
        return request_type.FromString(body)
    except DecodeError:
        return _mended(body, request_type)


def _mended(body: bytes, request_type: Any) -> Any:
    lenient_type, texts = _with_bytes_for_text(request_type)
    try:
        lenient = lenient_type.FromString(body)
        for message in _messages(lenient):
            for field, value in message.ListFields():
                if field.full_name in texts:
                    _mend(message, field, value)
        return request_type.FromString(lenient.SerializeToString())
    except DecodeError:
        raise MalformedTelemetry(
            f"the body is not an OTLP {request_type.DESCRIPTOR.name} in protobuf: check what the exporter sends"
        ) from None


def _mend(message: Message, field: FieldDescriptor, value: Any) -> None:
    if field.is_repeated:
        value[:] = [_valid(item) for item in value]
    else:
        setattr(message, field.name, _valid(value))


def _valid(text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode()


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for child in value if field.is_repeated else (value,):
                yield from _messages(child)


@cache
def _with_bytes_for_text(request_type: Any) -> tuple[Any, frozenset[str]]:
    """The same message with bytes in place of strings, and the full names of those fields."""
    pool, texts = descriptor_pool.DescriptorPool(), set[str]()
    for original in _files(request_type.DESCRIPTOR.file):
        file = FileDescriptorProto()
        original.CopyToProto(file)
        for message in file.message_type:
            texts.update(_text_to_bytes(message, file.package))
        pool.Add(file)
    lenient = pool.FindMessageTypeByName(request_type.DESCRIPTOR.full_name)
    return message_factory.GetMessageClass(lenient), frozenset(texts)


def _files(file: FileDescriptor) -> list[FileDescriptor]:
    """A file and what it imports, each once, imports first."""
    ordered = dict[str, FileDescriptor]()
    for imported in file.dependencies:
        ordered.update({each.name: each for each in _files(imported)})
    return [*ordered.values(), file]


def _text_to_bytes(message: DescriptorProto, within: str) -> Iterator[str]:
    name = f"{within}.{message.name}"
    for field in message.field:
        if field.type == FieldDescriptorProto.TYPE_STRING:
            field.type = FieldDescriptorProto.TYPE_BYTES
            yield f"{name}.{field.name}"
    for nested in message.nested_type:
        yield from _text_to_bytes(nested, name)

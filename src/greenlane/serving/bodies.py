"""From bytes to types: every way a body can be wrong becomes one error with a path and a hint."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec

from greenlane.errors import InputError, LimitExceeded
from greenlane.payments.attempt import Attempt
from greenlane.payments.guard import refuse_card_data
from greenlane.payments.outcome import Outcome

T = TypeVar("T")
PATH: Final = re.compile(r" - at `(?P<path>[^`]+)`$")
UNKNOWN: Final = re.compile(r"unknown field `(?P<field>[^`]*)`")
TOO_LONG: Final = re.compile(r"^Expected `array` of length <= [0-9]+")
MISSING: Final = re.compile(r"missing required field `(?P<field>[^`]*)`")
ENUM: Final = re.compile(r"Invalid enum value '(?P<value>[^']*)'")
ID: Final = re.compile(r"[\x21-\x7e]{1,128}")


def read(body: bytes, decoder: "msgspec.json.Decoder[T]", *, fields: tuple[str, ...] = ()) -> T:
    """The decoded body. `fields` are the names a misspelt one is compared with.

    >>> from greenlane.payments.attempt import ATTEMPT_DECODER, Attempt
    >>> read(b'{"attempt": 1}', ATTEMPT_DECODER, fields=Attempt.__struct_fields__)
    Traceback (most recent call last):
    greenlane.errors.InputError: Object contains unknown field `attempt` (at $.attempt)
      hint: did you mean attempt_id?
    """
    refuse_card_data(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise wrong_shape(str(error), fields) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        malformed = InputError(f"the body is no JSON: {error}", code="invalid_json", hint="send a JSON object in UTF-8")
        malformed.status = 400
        raise malformed from error


def wrong_shape(message: str, fields: tuple[str, ...]) -> InputError:
    found = PATH.search(message)
    where, plain = (found["path"] if found else "$"), PATH.sub("", message)
    if TOO_LONG.match(plain):
        return LimitExceeded(plain, code="list_too_long", param=where, hint="split the list")
    unknown, missing = UNKNOWN.search(plain), MISSING.search(plain)
    if unknown:
        near = get_close_matches(unknown["field"], fields, n=1, cutoff=0.5)
        elsewhere = ", or put it under metadata" if "metadata" in fields else "; see /docs for the body"
        hint = f"did you mean {near[0]}?" if near else f"leave it out{elsewhere}"
        return InputError(plain, code="unknown_field", param=f"{where}.{unknown['field']}", hint=hint)
    if missing:
        return InputError(
            plain, code="missing_field", param=f"{where}.{missing['field']}", hint="see /docs for the body"
        )
    return InputError(plain, code="invalid_field", param=where, hint=hint_for(plain, where))


def hint_for(message: str, where: str) -> str:
    """What a field of the wrong type or value should have been."""
    wrong = ENUM.search(message)
    if wrong:
        near = get_close_matches(wrong["value"], WORDS, n=1, cutoff=0.6)
        return f"did you mean {near[0]!r}? See /docs" if near else "see /docs for the values of this field"
    if where.endswith("amount"):
        return "an integer in minor units (12.99 EUR is 1299); see /docs"
    if where.endswith("currency"):
        return "three capital letters of ISO 4217, such as EUR; see /docs"
    return "see /docs for the type of this field"


def idempotency_key(header: str, otherwise: str) -> str:
    """The caller's key, or the one the request implies."""
    if not header:
        return otherwise
    if not ID.fullmatch(header):
        raise InputError(
            "the Idempotency-Key is too long or has spaces",
            code="invalid_idempotency_key",
            param="Idempotency-Key",
            hint="1 to 128 printable ASCII characters",
        )
    refuse_card_data(header.encode())
    return header


def name_in_path(segments: tuple[str, ...], place: int) -> str:
    """A segment of the path that will be remembered, held to what a body may say.

    >>> name_in_path(("", "v1", "merchants", "shop_1"), 3)
    'shop_1'
    """
    name = segments[place]
    if not ID.fullmatch(name):
        raise InputError("the id in the path is too long or has spaces", param="id", hint="1 to 128 printable ASCII")
    refuse_card_data(name.encode())
    return name


def all_field_names(root: type[msgspec.Struct]) -> tuple[str, ...]:
    """Of a struct and everything in it, for hints.

    >>> from greenlane.payments.attempt import Attempt
    >>> "last4" in all_field_names(Attempt)
    True
    """
    return tuple(dict.fromkeys(field.encode_name for kind in types_in(root) for field in fields_of(kind)))


def all_words(root: type[msgspec.Struct]) -> tuple[str, ...]:
    """Every literal value that some field of a struct, or of anything in it, may take.

    >>> from greenlane.payments.attempt import Attempt
    >>> "mastercard" in all_words(Attempt)
    True
    """
    literal = (kind for kind in types_in(root) if get_origin(kind) is Literal)
    return tuple(dict.fromkeys(str(word) for kind in literal for word in get_args(kind)))


def types_in(root: Any) -> Iterator[Any]:
    """A type and all that it is made of, each once."""
    todo, done = [root], list[Any]()
    while todo:
        kind = todo.pop()
        if any(kind is one for one in done):
            continue
        done.append(kind)
        yield kind
        todo += [field.type for field in fields_of(kind)]
        if get_origin(kind) is not Literal:
            todo += get_args(kind)


def fields_of(kind: Any) -> tuple[Any, ...]:
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return msgspec.structs.fields(kind) if is_struct else ()


WORDS: Final = (*all_words(Attempt), *all_words(Outcome))

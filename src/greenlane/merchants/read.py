"""A merchant's configuration as people send it: what they leave out comes from the priors of its MCC and country."""

import re
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from greenlane.errors import InputError
from greenlane.merchants.economics import Economics, Fees, RouteTerms, TraBand
from greenlane.merchants.inherit import inherit, prior_economics

PATH: Final = re.compile(r" - at `(?P<path>[^`]+)`$")
UNKNOWN: Final = re.compile(r"unknown field `(?P<field>[^`]*)`")
FIELDS: Final = tuple(
    dict.fromkeys(
        Economics.__struct_fields__ + RouteTerms.__struct_fields__ + Fees.__struct_fields__ + TraBand.__struct_fields__
    )
)
OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


def read_economics(body: bytes) -> Economics:
    """The body of `PUT /v1/merchants/{id}`; an InputError names the field that is wrong.

    >>> read_economics(b'{"mcc": "5816", "dispute_fee_minor": 2000}').margin_ppm
    800000
    >>> read_economics(b'{"margin": 0.3}')
    Traceback (most recent call last):
    greenlane.errors.InputError: Object contains unknown field `margin` (at $.margin)
      hint: did you mean margin_ppm?
    """
    try:
        stated = OBJECT.decode(body)
        named = msgspec.convert({key: stated[key] for key in ("mcc", "country") if key in stated}, Economics)
        prior = msgspec.to_builtins(prior_economics(named.mcc, named.country))
        economics = msgspec.convert({**prior, **stated}, Economics)
    except msgspec.DecodeError as error:
        raise _refused(str(error)) from error
    _refuse_doubles(economics)
    _refuse_mandate_nowhere(economics)
    return economics


def moved(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Each field that a change moved: from and to. Whoever was not configured had the priors, with their caps.

    >>> moved(None, {"margin_ppm": 200_000})
    {'margin_ppm': (350000, 200000), 'amount_max_minor': (500000, None), 'unscored_amount_max_minor': (5000, 10000)}
    """
    now = msgspec.convert(after, Economics)
    was = inherit(now.mcc, now.country) if before is None else msgspec.convert(before, Economics)
    pairs = {name: (getattr(was, name), getattr(now, name)) for name in Economics.__struct_fields__}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _refuse_doubles(economics: Economics) -> None:
    ids = [terms.id for terms in economics.routes]
    for at, route in enumerate(ids):
        if route in ids[:at]:
            raise InputError(
                f"the route {route!r} is stated twice",
                code="invalid_merchant",
                param=f"$.routes[{at}].id",
                hint="give each route one entry; its place in the list is its static priority",
            )


def _refuse_mandate_nowhere(economics: Economics) -> None:
    if economics.sca_mandated and economics.country is None:
        raise InputError(
            "sca_mandated needs the merchant's country, which decides whether the law applies",
            code="invalid_merchant",
            param="$.country",
            hint="send country as ISO 3166-1 alpha-2, such as DE",
        )


def _refused(message: str) -> InputError:
    path = PATH.search(message)
    where = path["path"] if path else "$"
    plain = PATH.sub("", message)
    unknown = UNKNOWN.search(message)
    if unknown is None:
        numbers = "rates are integers in ppm (35 % = 350000), money is integer minor units"
        hint = numbers if plain.startswith("Expected `int") else "see /docs for the values of this field"
        return InputError(plain, code="invalid_merchant", param=where, hint=hint)
    near = get_close_matches(unknown["field"], FIELDS, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"fields: {', '.join(Economics.__struct_fields__)}"
    return InputError(plain, code="unknown_field", param=f"{where}.{unknown['field']}", hint=hint)

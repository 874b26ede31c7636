"""Card numbers and security codes stay outside: a body that carries one is refused before anything is logged or stored.

What counts as a card number is 13 to 19 decimal digits with a valid Luhn digit, spaces and dashes between them allowed,
wherever it stands: in a key, a text, a number, nested, inside a longer text, in digits of any script, or escaped. Where
digits stand in groups, every run of whole groups is tried. Four things are let
through:

- a stretch of 24 or more hexadecimal characters with a letter in it, and a UUID: one SHA-256 in twenty-five has
  thirteen decimal digits in a row;
- the digits after the point of a JSON number: one score in ten would pass for a card;
- `network_transaction_id` of exactly 15 digits that is no American Express number: Visa writes its ids so;
- a run of more than 19 digits.

So an id of 13 to 19 decimal digits is refused one time in ten. Send such an id in hexadecimal, or hashed.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import accumulate, combinations
from typing import Final

from greenlane.errors import PanNotAccepted


def refuse_card_data(body: bytes) -> None:
    """Raises PanNotAccepted with the path of a card number or security code in a JSON body, and never its value.

    A body that is no JSON is searched as text. Costs about 5 us where there is nothing to look at twice.

    >>> refuse_card_data(b'{"payment": {"amount": 1999, "metadata": {"order": "2026-11-21 / 17"}}}')
    >>> refuse_card_data(b'{"payment": {"card": {"cvc": "123"}}}')
    Traceback (most recent call last):
    greenlane.errors.PanNotAccepted: what looks like a security code is not accepted (at $.payment.card)
      hint: ...
    """
    if _is_clearly_clean(body):
        return
    for path, what in _findings(body):
        raise PanNotAccepted(f"what looks like a {what} is not accepted", param=path, hint=_HINTS[what])


_HINTS: Final = {
    "card number": "send card.fingerprint, bin and last4; an id that only looks like one may be sent in hexadecimal",
    "security code": "never send CVV, track data or a PIN; the issuer's one-letter answer goes in cvv_result",
}

# The first look: one fold, one search for thirteen digits, one expression that starts with a letter (which is fast) and
# finds every name, because each has a "c" in it once "p" is folded into it. All digits are folded into 0.
_FOLD: Final = bytes(range(256)).translate(
    bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZp123456789", b"abcdefghijklmnocqrstuvwxyzc000000000")
)
_BETWEEN_DIGITS: Final = b" -\t\r\n"
_THIRTEEN_DIGITS: Final = b"0" * 13
_FRACTION: Final = re.compile(r'([0-9A-Za-z_]":\s?-?[0-9]+)\.[0-9]+(?=[,}\s])')
"""A JSON number behind its name: no text can hold one, because a quote inside a text is escaped."""
_BEFORE_FRACTION: Final = re.compile(rb'[0-9A-Za-z_]":\s?-?[0-9]+\.$')
_IN_RUNS: Final = bytes(b"01"[byte not in b"0123456789" + _BETWEEN_DIGITS] for byte in range(256))
_SECRET_IN_FOLDED: Final = re.compile(rb'c(?:v[vcn](?!_result")|sc|av0|i[dn]"|inblock|urit|(?<=trac)k)')


def _is_clearly_clean(body: bytes) -> bool:
    if b"\\" in body:
        return False
    if not body.isascii():
        body = _in_ascii(body.decode("utf-8", "replace")).encode()
    folded = body.translate(_FOLD, _BETWEEN_DIGITS)
    if _THIRTEEN_DIGITS in folded and _card_number_outside_fractions(body):
        return False
    return _SECRET_IN_FOLDED.search(folded) is None


# The second look decodes the body and finds the path.


class _Pairs(list[tuple[str, object]]):
    """A JSON object with all its pairs, so that a repeated key hides nothing."""


class _Number(str):
    """A JSON number as written."""

    __slots__ = ()


def _findings(body: bytes) -> Iterator[tuple[str, str]]:
    text = body.decode("utf-8", "replace")
    try:
        document = json.loads(text, object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number)
    except (ValueError, RecursionError):
        document = text
    open_values = [("$", "", document)]
    while open_values:
        path, name, value = open_values.pop()
        if isinstance(value, _Pairs):
            for key, child in value:
                what = "security code" if _names_a_secret(key) else "card number" if _card_number_in(key) else ""
                if what:
                    yield path, what
                open_values.append((f"{path}.{key[:64]}", key, child))
        elif isinstance(value, list):
            open_values += [(f"{path}[{i}]", name, child) for i, child in enumerate(value)]
        elif isinstance(value, str):
            yield from ((path, what) for what in _kinds_in(name, value))


def _kinds_in(name: str, value: str) -> Iterator[str]:
    if isinstance(value, _Number):
        value = _whole_digits(value)
    if _card_number_in(value) and not (name == "network_transaction_id" and _VISA_ID.fullmatch(value)):
        yield "card number"
    if _SECRET_IN_TEXT.search(value):
        yield "security code"


def _whole_digits(number: str) -> str:
    """
    >>> _whole_digits("0.123456"), _whole_digits("12.5"), _whole_digits("1.2345e3")
    ('0', '12', '1234')
    """
    value = float(number)
    return str(int(value)) if "e" in number.lower() and abs(value) < 1e20 else number.partition(".")[0]


_VISA_ID: Final = re.compile(r"(?!3[47])[0-9]{15}")
_SECRET_WORDS: Final = frozenset({"cvv", "cvv2", "cvc", "cvc2", "cvn", "cvn2", "csc", "cav2", "cid", "pin", "pinblock"})
_SECRET_NAMES: Final = ("securitycode", "track", "track1", "track2", "trackdata", "track1data", "track2data")
_SECRET_IN_TEXT: Final = re.compile(r"\b(?:cvv2?|cvc2?|cvn2?|csc|cav2)\b\W{0,6}[0-9]{3,4}\b", re.IGNORECASE)
_WORD: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+")


def _names_a_secret(key: str) -> bool:
    """
    >>> [_names_a_secret(key) for key in ("cardCvc", "card_pin", "CVV2", "cvv_result", "shipping", "tracking_id")]
    [True, True, True, False, False, False]
    """
    if key == "cvv_result":
        return False
    words = [word.lower() for word in _WORD.findall(key)]
    squashed = "".join(words)
    return not _SECRET_WORDS.isdisjoint(words) or squashed in _SECRET_WORDS or squashed.endswith(_SECRET_NAMES)


_HEX_IDS: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?=[0-9]*[a-fA-F])[0-9a-fA-F]{24,}")
_DIGIT_GROUPS: Final = re.compile(r"[0-9][0-9 \-\t\r\n]{11,}[0-9]")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_GROUP: Final = re.compile(r"[0-9]+")


def _card_number_outside_fractions(body: bytes) -> bool:
    # Most long runs of digits are fractions or no card's: all is searched only where one looks like something else.
    runs, end = body.translate(_IN_RUNS), 0
    while (start := runs.find(_THIRTEEN_DIGITS, end)) >= 0:
        end = runs.find(b"1", start)
        run = body[start:] if end < 0 else body[start:end]
        if _groups_hold_a_number(_GROUP.findall(run.decode())) and not _is_fraction(run, body, start):
            text = body.decode()
            return _card_number_in(text) and _card_number_in(_FRACTION.sub(r"\1", text))
        if end < 0:
            break
    return False


def _is_fraction(run: bytes, body: bytes, start: int) -> bool:
    after = body[start + len(run) : start + len(run) + 1]
    return (
        run.isdigit()
        and after in (b",", b"}")
        and _BEFORE_FRACTION.search(body[max(0, start - 40) : start]) is not None
    )


def _card_number_in(text: str) -> bool:
    """
    >>> _card_number_in("room 12: " + 7 * "18 " + "at 9"), _card_number_in(7 * "81 ")
    (True, False)
    """
    if len(text) < 13:
        return False
    text = _in_ascii(text)
    return _runs_hold_a_number(text) and _runs_hold_a_number(_HEX_IDS.sub("x", text))


def _runs_hold_a_number(text: str) -> bool:
    return any(_groups_hold_a_number(_GROUP.findall(run)) for run in _DIGIT_GROUPS.findall(text))


def _in_ascii(text: str) -> str:
    return text if text.isascii() else _NOT_ASCII.sub(_plain_character, text)


def _plain_character(match: re.Match[str]) -> str:
    """A digit of any script as ASCII; spaces, dashes and invisible characters as a space."""
    digit = unicodedata.decimal(match[0], None)
    if digit is not None:
        return str(digit)
    return " " if unicodedata.category(match[0]) in ("Zs", "Zl", "Zp", "Pd", "Cf", "Cc") else match[0]


def _groups_hold_a_number(groups: list[str]) -> bool:
    """Whether any run of whole groups does. A long row of groups has hundreds of runs: one of them always would."""
    if len(groups) == 1:
        return 13 <= len(groups[0]) <= 19 and luhn_valid(groups[0])
    if len(groups) > _GROUPS_MAX:
        return True
    digits, edges = "".join(groups), accumulate(map(len, groups), initial=0)
    return any(13 <= end - start <= 19 and luhn_valid(digits[start:end]) for start, end in combinations(edges, 2))


_GROUPS_MAX: Final = 30
_VALUES: Final = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))


def luhn_valid(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: from the right every second digit doubled, digits added, a multiple of ten.

    >>> luhn_valid("18"), luhn_valid("81")
    (True, False)
    """
    backwards = digits.encode("ascii")[::-1]
    return (sum(backwards[0::2].translate(_VALUES)) + sum(backwards[1::2].translate(_DOUBLED))) % 10 == 0

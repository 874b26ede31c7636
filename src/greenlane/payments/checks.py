"""What the types alone cannot say about an attempt: fields that only make sense together, and texts that must parse."""

import socket
from typing import Final

from greenlane.errors import InputError
from greenlane.payments.attempt import Attempt, Payment, PaymentMethod, Route
from greenlane.payments.money import exponent
from greenlane.payments.times import parse_rfc3339


def check_attempt(attempt: Attempt) -> None:
    """Raises InputError with the JSON path of the first field that does not fit the others. Costs a few microseconds.

    >>> import msgspec
    >>> attempt = msgspec.convert({"attempt_id": "att_1", "payment": {"id": "pay_1", "amount": 1, "currency": "EUR",
    ...   "merchant_id": "shop_1", "payment_method": {"type": "pix", "card": {"fingerprint": "fp_1"}}}}, Attempt)
    >>> check_attempt(attempt)
    Traceback (most recent call last):
    greenlane.errors.InputError: payment_method.type is pix but card is set (at $.payment.payment_method.card)
      hint: ...
    """
    check_payment(attempt.payment, path="$.payment")
    if attempt.at is not None:
        parse_rfc3339(attempt.at, param="$.at")
    if attempt.eligible_routes:
        _check_routes(attempt.eligible_routes)


def check_payment(payment: Payment, *, path: str) -> None:
    """The same for a payment that stands at `path`, as in an outcome about a payment never seen."""
    exponent(payment.currency, param=f"{path}.currency")
    _check_method(payment.payment_method, path)
    if payment.created is not None:
        parse_rfc3339(payment.created, param=f"{path}.created")
    if payment.mit_reason is not None and payment.initiator != "mit":
        raise InputError(
            f"mit_reason {payment.mit_reason!r} with initiator {payment.initiator!r}",
            code="inconsistent_fields",
            param=f"{path}.mit_reason",
            hint='set initiator to "mit", or leave mit_reason out',
        )
    customer, device = payment.customer, payment.device
    if customer is not None and customer.account_created is not None:
        parse_rfc3339(customer.account_created, param=f"{path}.customer.account_created")
    if device is not None and device.ip is not None:
        _check_ip(device.ip, f"{path}.device.ip")


_MEMBERS: Final = tuple(field for field in PaymentMethod.__struct_fields__ if field != "type")


def _check_method(method: PaymentMethod, path: str) -> None:
    if method.type == "card" and method.card is not None and method == PaymentMethod(card=method.card):
        return
    for member in _MEMBERS:
        is_set = getattr(method, member) is not None
        if is_set and member != method.type:
            raise _mismatch(f"payment_method.type is {method.type} but {member} is set", path, member, method.type)
        if not is_set and member == method.type:
            raise _mismatch(f"payment_method.type is {method.type} but {member} is missing", path, member, member)


def _mismatch(message: str, path: str, member: str, wanted: str) -> InputError:
    return InputError(
        message,
        code="inconsistent_fields",
        param=f"{path}.payment_method.{member}",
        hint=f"set exactly the member that type names: payment_method.{wanted}",
    )


def _check_ip(ip: str, path: str) -> None:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)
    except (OSError, ValueError):
        raise InputError(
            f"{ip!r} is not an IP address",
            code="invalid_ip",
            param=path,
            hint="send one IPv4 or IPv6 address without port or brackets",
        ) from None


def _check_routes(routes: tuple[Route, ...]) -> None:
    seen: set[str] = set()
    for position, route in enumerate(routes):
        if route.id in seen:
            raise InputError(
                f"route {route.id!r} stands twice",
                code="duplicate_route",
                param=f"$.eligible_routes[{position}].id",
                hint="a route is acquirer, merchant account and network; its credentials go into one entry",
            )
        seen.add(route.id)

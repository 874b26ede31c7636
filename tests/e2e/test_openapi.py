"""The document is valid OpenAPI 3.1, and the server keeps to it whatever it is sent."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from small_shop import shop_in

from greenlane.serving.access import GRANTS, KeyFile
from greenlane.serving.app import door
from greenlane.wiring import System

EXAMPLES = 12
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


class Shop:
    """A system in this process, behind its own door."""

    def __init__(self, system: System):
        self.system = system
        keys = KeyFile(system.places.keys)
        self.key = keys.create(GRANTS, created="")
        self.failures: list[str] = []
        self.door = door(system, keys, on_failure=lambda request, error: self.failures.append(f"{request}: {error!r}"))
        self.door.on_stop = None  # the client of these tests ends a lifespan after every request


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    found = Shop(shop_in(tmp_path_factory.mktemp("described"), requests_per_second_max=1_000_000))
    yield found
    found.system.close()


@pytest.fixture(scope="module")
def described(shop: Shop) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", shop.door)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_is_answered_otherwise_than_described(mode: GenerationMode, described: Any, shop: Shop) -> None:
    found = []
    for operation in (result.ok() for result in described.get_all_operations()):
        try:
            hold(operation, mode, shop)
        except Exception as error:  # noqa: BLE001 - all operations are tried before any is told
            found.append(error)
    assert shop.failures == []
    if found:
        raise ExceptionGroup("answers that contradict the document", found)


def hold(operation: Any, mode: GenerationMode, shop: Shop) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def holds(case: Any) -> None:
        case.call_and_validate(headers={"authorization": f"Bearer {shop.key}"}, checks=CHECKS)

    with suppress(Unsatisfiable):  # nothing can be wrong about a request that says nothing
        holds()


def test_the_document_is_valid(described: Any) -> None:
    OPENAPI_31_VALIDATOR.validate(described.raw_schema)

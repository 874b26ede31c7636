from collections.abc import Iterator

import pytest
from e2e.server import Server, champion, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One real process with a champion, shared by every test that does not stop it."""
    with serving(tmp_path_factory.mktemp("shop")) as started:
        champion(started)
        yield started

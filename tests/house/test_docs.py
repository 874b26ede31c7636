"""What the README and the docs say exists, exists; what exists is documented."""

import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from greenlane.adapters.history_mapping import (
    AmountColumn,
    AuthorizationColumn,
    Expected,
    LabelColumn,
    Mapping,
    TimeColumn,
    read_mapping,
)
from greenlane.cli import app
from greenlane.merchants.read import read_economics
from greenlane.outcomes.accept import check_outcome
from greenlane.outcomes.happened import HAPPENED_DECODER, check_happened
from greenlane.payments.attempt import ATTEMPT_DECODER
from greenlane.payments.checks import check_attempt
from greenlane.payments.guard import refuse_card_data
from greenlane.payments.outcome import OUTCOME_DECODER
from greenlane.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]


def verbs(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with the words one types."""
    if not hasattr(command, "commands") or command.invoke_without_command:
        yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from verbs(child, f"{path} {name}")


VERBS = dict(verbs(typer.main.get_command(app), "greenlane"))
assert len(VERBS) > 5


def options(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "option"]


def flags(command: Any) -> set[str]:
    return {text for option in options(command) for text in (*option.opts, *option.secondary_opts)} | {"--help"}


def shell_lines(text: str) -> Iterator[str]:
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if (command := line.partition("  #")[0].strip().removeprefix("$ ")) and not command.startswith("#"):
                yield command


def commands(program: str) -> list[tuple[str, list[str]]]:
    """(page, words) of every shell line of the docs that starts with `program`."""
    lines = [(page.name, line) for page in PAGES for line in shell_lines(page.read_text())]
    return [(page, shlex.split(line, comments=True)) for page, line in lines if line.split()[0] == program]


def test_the_tree_in_the_readme_is_the_real_one() -> None:
    drawn = re.search(r"```\nsrc/greenlane/\n(.*?)```", README, re.DOTALL)
    assert drawn, "the README draws src/greenlane/"
    names = {line.split()[0] for line in drawn[1].splitlines() if line.startswith("  ") and line[2] != " "}
    package = ROOT / "src" / "greenlane"
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert names == rooms | modules


def test_every_make_target_of_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = {word for _, words in commands("make") for word in words[1:] if "=" not in word}
    assert wanted
    assert wanted <= targets


def test_every_greenlane_command_of_the_docs_exists_with_its_flags() -> None:
    found = commands("greenlane")
    assert found
    for page, words in found:
        typed = [word.partition("=")[0] for word in words]
        verb = max((v for v in VERBS if typed[: len(v.split())] == v.split()), key=len, default=None)
        assert verb, f"{page}: {' '.join(words)}"
        unknown = {word for word in typed if word.startswith("--")} - flags(VERBS[verb])
        assert not unknown, f"{page}: {' '.join(words)}"


def test_every_benchmark_of_the_docs_exists_with_its_flags() -> None:
    for page, words in commands("python"):
        script = ROOT / words[1]
        assert script.is_file(), f"{page}: {words[1]}"
        text = script.read_text()
        assert all(f'"{word}"' in text for word in words if word.startswith("--")), f"{page}: {' '.join(words)}"


def test_every_body_that_is_posted_in_the_docs_is_accepted() -> None:
    posted = [
        (path, body.encode())
        for page in PAGES
        for path, body in re.findall(r"curl -s localhost:8080(\S+) [^'\n]*?-d '(.*?)'", page.read_text(), re.DOTALL)
    ]
    assert {path for path, _ in posted} >= {"/v1/decisions", "/v1/outcomes", "/v1/merchants/shop_1"}
    for path, body in posted:
        refuse_card_data(body)
        if path == "/v1/decisions":
            check_attempt(ATTEMPT_DECODER.decode(body))
        elif path.endswith("/next_action"):
            check_happened(HAPPENED_DECODER.decode(body))
        elif path.startswith("/v1/merchants/"):
            read_economics(body)
        else:
            check_outcome(OUTCOME_DECODER.decode(body))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented_with_its_flags_and_teaches_itself(verb: str) -> None:
    command = VERBS[verb]
    section = re.search(rf"^### `{re.escape(verb)}\b[^\n]*\n(.*?)(?=^#|\Z)", REFERENCE, re.DOTALL | re.MULTILINE)
    assert section, f"docs/reference.md has a section on `{verb}`"
    missing = {flag for flag in flags(command) - {"--help"} if f"`{flag}" not in section[0]}
    assert not missing
    assert command.help, verb
    assert [option.name for option in options(command) if not option.help] == []


def test_the_reference_names_no_verb_that_is_gone() -> None:
    written = re.findall(r"^### `(greenlane(?: [a-z][a-z-]*)+)", REFERENCE, re.MULTILINE)
    assert set(written) == set(VERBS)


@pytest.mark.parametrize("setting", Settings.__struct_fields__)
def test_every_setting_is_documented_with_its_default(setting: str) -> None:
    row = re.search(rf"^\| `{setting}` \|([^\n]*)$", REFERENCE, re.MULTILINE)
    assert row, f"docs/reference.md has a row for the setting {setting}"
    default = getattr(Settings(), setting)
    if not isinstance(default, dict):
        assert str(default).lower().replace("_", "") in row[1].lower().replace(",", "").replace("_", "")


def test_every_key_of_a_mapping_is_documented_and_the_mapping_that_is_shown_is_one(tmp_path: Path) -> None:
    section = REFERENCE.partition("## The mapping of an import\n")[2]
    tables = (Mapping, TimeColumn, AmountColumn, LabelColumn, AuthorizationColumn, Expected)
    assert [key for table in tables for key in table.__struct_fields__ if not re.search(rf"\b{key}\b", section)] == []
    shown = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "start.md").read_text(), re.DOTALL)
    assert len(shown) == 1
    (tmp_path / "mapping.toml").write_text(shown[0])
    assert read_mapping(tmp_path / "mapping.toml").label


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    local = [link for link in links if not link.startswith(("http:", "https:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`((?:src|tests|docs|benchmarks|examples|\.ci|\.github)/[\w./-]*\w)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_example_runs(page: Path) -> None:
    failed, _ = doctest.testfile(str(page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert 80 <= len(README.splitlines()) <= 140

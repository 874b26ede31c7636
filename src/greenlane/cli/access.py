"""Verbs for keys and for people's data."""

from typing import Annotated

import typer

from greenlane.cli.shown import Data, err, out, print_table

keys_app = typer.Typer(help="API keys: stored hashed, shown once.", no_args_is_help=True)
subjects_app = typer.Typer(help="People's data: erase a subject from the map of pseudonyms.", no_args_is_help=True)


@keys_app.command("create")
def keys_create(
    data: Data,
    scope: Annotated[
        list[str], typer.Option(help="decide, report, read, review or admin; may be given several times.")
    ],
) -> None:
    """Make a key and print it, this once. A running server knows it within a second."""
    from greenlane.payments.times import format_rfc3339
    from greenlane.ports.clock import SystemClock
    from greenlane.serving.access import KeyFile
    from greenlane.settings import make_directory
    from greenlane.wiring import Places

    make_directory(data)
    created = format_rfc3339(SystemClock().now_us())
    out.print(KeyFile(Places(data).keys).create(tuple(scope), created=created))


@keys_app.command("list")
def keys_list(data: Data) -> None:
    """The keys that are known: id, scopes, since when."""
    from greenlane.serving.access import KeyFile
    from greenlane.wiring import open_reader

    stored = KeyFile(open_reader(data).places.keys).stored()
    print_table("API keys", ["id", "scopes", "created"], [(k.id, " ".join(k.scopes), k.created) for k in stored])


@keys_app.command("revoke")
def keys_revoke(data: Data, key_id: str) -> None:
    """Take a key away; a running server refuses it within a second."""
    from greenlane.serving.access import KeyFile
    from greenlane.wiring import open_reader

    KeyFile(open_reader(data).places.keys).revoke(key_id)
    out.print(f"revoked: {key_id}")


@subjects_app.command("erase")
def subjects_erase(data: Data, kind: str, identifier: str) -> None:
    """Forget whom a pseudonym stood for; the server is stopped while this runs.

    KIND is card (or another method's name), par, customer, email, phone, device, ip or shipping; IDENTIFIER is what the
    requests said. Entries, features and replay go on with the pseudonym. Exit status 1 where nobody was known by it.
    """
    from greenlane.wiring import erase_subject

    if not erase_subject(data, kind, identifier):
        err.print(f"no {kind} was known by this identifier")
        raise typer.Exit(1)
    out.print(f"erased: no entry leads back to this {kind}")

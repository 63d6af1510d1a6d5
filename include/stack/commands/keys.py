"""`./heartline keys`: its options and output."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from stack import console
from stack.secrets import api_keys
from stack.settings import Settings

file_option = click.option(
    "--file", metavar="PATH", help="The key file, by default HEARTLINE_API_KEYS or the local stack's own."
)


@click.group(invoke_without_command=True)
@click.pass_context
def keys(context: click.Context) -> None:
    """Create, list and revoke API keys of the service.

    Without a key file, no key is required. After the first `add`, ./heartline up makes the service require keys; from
    then on it reloads the file within a second. To require no keys again, delete the file and call ./heartline up.
    The file holds the digests of the keys, also of the key `heartline`, which the commands here use.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@keys.command("add")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(api_keys.SCOPES),
    default=api_keys.SCOPES[0],
    show_default=True,
    help="predict: all requests but POST /outcomes; outcomes: only that; all: both.",
)
@file_option
def add_key(name: str, scope: str, file: str | None) -> None:
    """Create a key for the client NAME, and print it. It is not stored and cannot be shown again."""
    settings = Settings.load()
    path = Path(file).absolute() if file else api_keys.file_of(settings)
    new = not path.exists()
    print(api_keys.add(path, name, None if file else settings, scope=scope))
    console.say(f"send it as Authorization: Bearer KEY; it is not shown again ({path} has its digest)")
    if new and not file:
        console.say("the service requires keys after the next ./heartline up")


@keys.command("list")
@file_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(file: str | None, as_json: bool) -> None:
    """Show the creation day, the name and the scope of each key."""
    path = Path(file) if file else api_keys.file_of(Settings.load())
    found = api_keys.read(path)
    if as_json:
        print(json.dumps([asdict(key) for key in found], indent=2))
    elif found:
        print("\n".join(f"{key.created}  {key.name}  {key.scope}" for key in found))
    elif path.exists():
        console.say(f"there are no keys in {path}: a service with this key file refuses every request")
    else:
        console.say("there are no keys: the service requires none, and any user of this machine may call it")


@keys.command("revoke")
@click.argument("name")
@file_option
def revoke_key(name: str, file: str | None) -> None:
    """Revoke the key of the client NAME. The service refuses it within a second."""
    api_keys.revoke(Path(file).absolute() if file else api_keys.file_of(Settings.load()), name)
    console.say(f"revoked: {name}")

"""`./heartline keys`: what it takes and prints."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from stack import console
from stack.secrets import api_keys
from stack.settings import Settings

file_option = click.option(
    "--file", metavar="PATH", help="The file of keys, by default that of HEARTLINE_API_KEYS or of the local stack."
)


@click.group()
def keys() -> None:
    """Make, list and revoke the keys that the service asks for.

    While there is a file of keys, each request needs one. The file holds their digests and is read again by the
    running service within a second.
    """


@keys.command("add")
@click.argument("name")
@file_option
def add_key(name: str, file: str | None) -> None:
    """Make a key for NAME, and print it once: it is kept nowhere."""
    settings = Settings.load()
    path = Path(file).absolute() if file else api_keys.file_of(settings)
    new = not path.exists()
    print(api_keys.add(path, name, None if file else settings))
    console.say(f"send it as Authorization: Bearer KEY; it is not shown again ({path} has its digest)")
    if new and not file:
        console.say("the service asks for keys from the next ./heartline up on")


@keys.command("list")
@file_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_keys(file: str | None, as_json: bool) -> None:
    """Show the names of the keys, and the day each was made."""
    found = api_keys.read(Path(file) if file else api_keys.file_of(Settings.load()))
    if as_json:
        print(json.dumps([asdict(key) for key in found], indent=2))
    elif found:
        print("\n".join(f"{key.created}  {key.name}" for key in found))
    else:
        console.say("there are no keys")


@keys.command("revoke")
@click.argument("name")
@file_option
def revoke_key(name: str, file: str | None) -> None:
    """Refuse the key of NAME, within a second."""
    api_keys.revoke(Path(file).absolute() if file else api_keys.file_of(Settings.load()), name)
    console.say(f"revoked: {name}")

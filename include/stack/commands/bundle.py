"""`./heartline bundle`: its options and output."""

from pathlib import Path

import click

from stack.errors import UsageError
from stack.settings import ROOT

PYTHONS = ("3.11", "3.12", "3.13")


@click.command("bundle")
@click.argument("out")
@click.option(
    "--python",
    "pythons",
    metavar="V",
    multiple=True,
    help=f"{', '.join(PYTHONS)}; by default the running one. Repeatable.",
)
@click.option(
    "--platform",
    "platforms",
    metavar="P",
    multiple=True,
    help="linux-x86_64, linux-aarch64 or macos-arm64; by default this machine's. Repeatable.",
)
@click.option("--tests", is_flag=True, help="Also the packages that ./heartline test needs.")
@click.option("--images", is_flag=True, help="Also the images of docker compose, which must be built.")
def bundle(out: str, pythons: tuple[str, ...], platforms: tuple[str, ...], tests: bool, images: bool) -> None:
    """Write what a machine without a network needs, as the folder OUT, or as the archive OUT if it ends in .tar.

    It holds the committed state of this clone, the wheels of the locked packages with their digests, and their list
    (SBOM, CycloneDX). There: unpack it, and call ./heartline up. Needs git, and access to a package registry.
    """
    from stack.offline import bundle as offline_bundle  # no other command needs these imports

    for one in pythons:
        if one not in PYTHONS:
            raise UsageError(
                f"Heartline does not run on Python {one!r}",
                where="command line: heartline bundle --python",
                expected="one of " + ", ".join(PYTHONS),
                hint="choose one of these",
            )
    written = offline_bundle.write(
        ROOT, Path(out), pythons=pythons, platforms=platforms, tests=tests, with_images=images
    )
    print(written)

"""The platforms that a bundle can be for: the tags of their wheels, and what a marker in a lock says on them."""

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from stack.errors import UsageError

# Debian 10, Ubuntu 20.04, RHEL 8 and anything newer
_LINUX_GLIBC = range(28, 4, -1)
_MACOS = range(14, 10, -1)  # macOS 11 to 14


@dataclass(frozen=True)
class Platform:
    """A platform.

    Attributes:
        name: how the user names it.
        tags: of the wheels that run on it, the newest first.
        markers: the values of the variables in a requirement's marker.
    """

    name: str
    tags: tuple[str, ...]
    markers: dict[str, str]


def _linux(machine: str) -> Platform:
    old = ("manylinux2014", "manylinux2010", "manylinux1") if machine == "x86_64" else ("manylinux2014",)
    tags = [f"manylinux_2_{minor}_{machine}" for minor in _LINUX_GLIBC] + [f"{one}_{machine}" for one in old]
    markers = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine}
    return Platform(f"linux-{machine}", (*tags, f"linux_{machine}"), markers)


def _macos() -> Platform:
    tags = [f"macosx_{version}_0_{kind}" for version in _MACOS for kind in ("arm64", "universal2")]
    tags += [f"macosx_10_{minor}_universal2" for minor in range(16, 8, -1)]
    markers = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"}
    return Platform("macos-arm64", tuple(tags), markers)


PLATFORMS = {one.name: one for one in (_linux("x86_64"), _linux("aarch64"), _macos())}


def here() -> str:
    """Return the name of this machine's platform, which may be one that no bundle can be for."""
    return f"{'macos' if sys.platform == 'darwin' else sys.platform}-{platform.machine()}"


def find(names: Sequence[str]) -> list[Platform]:
    """Return the named platforms; this machine's if none is named.

    Raises:
        UsageError: there is no such platform.
    """
    wanted = list(dict.fromkeys(names)) or [here()]
    for name in wanted:
        if name not in PLATFORMS:
            raise UsageError(
                f"a bundle cannot be for the platform {name!r}",
                where="command line: heartline bundle --platform",
                expected="one of " + ", ".join(PLATFORMS),
                hint="choose one of these; for others, use docker compose with --images",
            )
    return [PLATFORMS[name] for name in wanted]

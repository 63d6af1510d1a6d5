"""Reads the text of a mapping, YAML or JSON, into dictionaries and lists of strings.

Every scalar stays the text that was written: YAML would read ``no`` as false and ``010`` as 8, and both are words that
a file may hold.
"""

import json
from collections.abc import Hashable, Iterable
from typing import Any, NoReturn

import yaml

from heartline.errors import DataError
from heartline.ingestion import limits
from heartline.ingestion.formats import cells

Tree = str | list["Tree"] | dict[str, "Tree"]


def parse(text: str, *, where: str) -> Tree:
    """Return the tree of a YAML or JSON text.

    Args:
        text: of the mapping.
        where: the mapping, for messages.

    Raises:
        DataError: it is too long, cannot be parsed, states a key twice, or uses YAML's anchors.
    """
    if len(text) > limits.MAPPING:
        _refuse(f"the mapping has {len(text):,} characters", where, f"at most {limits.MAPPING:,}")
    try:
        if text.lstrip("\ufeff \t\r\n").startswith("{"):
            return _from_json(text.lstrip("\ufeff"))
        return _strings(yaml.load(text, Loader=_Loader))  # noqa: S506 - the loader makes strings, lists and dictionaries only
    except _RepeatedKeyError as error:
        _refuse(f"the key {error} is stated twice", where, "each key once")
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        _refuse(f"the mapping is not YAML: {error.problem}", f"{where}{line}", "YAML or JSON")
    except (yaml.YAMLError, ValueError) as error:
        _refuse(f"the mapping is neither YAML nor JSON: {type(error).__name__}", where, "YAML or JSON")
    except RecursionError:
        _refuse("the mapping is nested too deeply", where, "a mapping of two or three levels")


def _refuse(what: str, where: str, expected: str) -> NoReturn:
    raise DataError(
        what, where=where, expected=expected, hint="docs/mapping.md has examples; ./heartline mapping FILE writes one"
    )


class _RepeatedKeyError(Exception):
    """A key that a dictionary has twice; YAML and JSON would keep the last one."""


class _Loader(yaml.BaseLoader):
    """Makes every scalar a string; refuses anchors, which can make a short text enormous, and repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="anchors are not accepted")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        _expect_once(str(key.value) for key, _ in node.value)
        return super().construct_mapping(node, deep)


def _from_json(text: str) -> Tree:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _expect_once(name for name, _ in pairs)
        return dict(pairs)

    found = json.loads(text, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=once)
    return _strings(found)


def _expect_once(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _RepeatedKeyError(repr(cells.shown(name)))
        seen.add(name)


def _strings(found: Any) -> Tree:
    if isinstance(found, dict):
        return {str(name): _strings(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_strings(one) for one in found]
    if found is None:
        return ""
    return str(found).lower() if isinstance(found, bool) else str(found)

"""YAML read without mercy: plain values only, no key twice, no aliases. The one file that needs PyYAML."""

from __future__ import annotations

from typing import Any

from cvforge_edge.errors import RulesError

PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")
}
MAX_BYTES = 256 * 1024
TEXT_TAG = "tag:yaml.org,2002:str"


def parse_yaml(text: str, *, where: str) -> Any:
    """The value that YAML text stands for: dictionaries with text keys, lists, text, numbers, booleans and None.

    Args:
        text: one document.
        where: the file, for messages.

    Raises:
        RulesError: PyYAML is not installed, or the text is no YAML, too long, or uses more of it than plain values.
    """
    try:
        import yaml
    except ImportError as error:
        raise RulesError(f"{where}: reading rules needs PyYAML; install it with: pip install pyyaml") from error
    if len(text) > MAX_BYTES:
        raise RulesError(f"{where}: found {len(text)} characters, accepted at most {MAX_BYTES}; that is no rules file")
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return None if node is None else _plain(node, loader, where, set())
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" line {error.problem_mark.line + 1}:"
        raise RulesError(f"{where}:{line} no valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RulesError(f"{where}: no valid YAML: {error}") from error
    except RecursionError:
        raise RulesError(f"{where}: nested too deep to read") from None
    finally:
        if loader is not None:
            loader.dispose()


def _plain(node: Any, loader: Any, where: str, seen: set[int]) -> Any:
    """The value of a node; dates stay text."""
    place = f"{where}: line {node.start_mark.line + 1}"
    if id(node) in seen:
        raise RulesError(f"{place}: aliases (*name) are not accepted; write the value again")
    seen.add(id(node))
    if node.tag not in PLAIN_TAGS:
        raise RulesError(
            f"{place}: found {node.tag}, accepted are plain values: text, numbers, true, false, lists, keys"
        )
    if node.id == "mapping":
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if key_node.id != "scalar" or key_node.tag != TEXT_TAG or not key:
                raise RulesError(f"{place}: found the key {key!r}, accepted are names as keys")
            if key in values:
                raise RulesError(f"{where}: line {key_node.start_mark.line + 1}: key {key!r} is given twice")
            values[key] = _plain(value_node, loader, where, seen)
        return values
    if node.id == "sequence":
        return [_plain(item, loader, where, seen) for item in node.value]
    return node.value if node.tag.endswith(":timestamp") else loader.construct_object(node)

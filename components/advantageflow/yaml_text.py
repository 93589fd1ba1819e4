"""YAML as people expect it: 6e-3 is a number, 'on' is text, a key given twice is an error, every key has a line."""

import math
import re
from typing import Any

import yaml

from advantageflow.errors import SettingsError
from advantageflow.json_text import DEEPEST

_LONGEST_NUMBER = 100  # digits


def parse_yaml(text: str, name: str) -> tuple[Any, dict[str, int]]:
    """Parse YAML, with the scalars of YAML 1.2; an error calls the text `name`, such as its path.

    Gives the value (None for an empty text), and the line (from 1) of each key by its dotted path. Raises
    SettingsError: a syntax error, a key that is given twice, an alias, a number beyond all ranges, too deep a nesting;
    names the line.
    """
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"is not valid YAML: {error}", where=name, remedy="save it as plain text") from error
    try:
        node = loader.get_single_node()
        lines: dict[str, int] = {}
        if node is None:
            return None, lines
        _note_lines(node, "", lines, name)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        message = f"is not valid YAML: {', '.join(filter(None, [error.context, error.problem]))}"
        raise SettingsError(message, where=where, remedy=_remedy(text)) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"is not valid YAML: {error}", where=name, remedy=_remedy(text)) from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core scalars: 1.1 reads 6e-3 as text, 010 as 8, 1:30 as 90 and 'no' as false."""

    _depth = 0
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (the base class's own attribute, emptied)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported", problem_mark=mark)
        self._depth += 1
        if self._depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"nested more than {DEEPEST} deep", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        if len(text) > _LONGEST_NUMBER:
            problem = f"a number of {len(text):,} digits"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return int(text)

    def construct_finite(self, node: yaml.ScalarNode) -> float:
        number = float(self.construct_scalar(node))
        if not math.isfinite(number):
            problem = f"{node.value[:20]} is beyond the range of numbers"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return number


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_finite)


def _note_lines(node: yaml.Node, path: str, lines: dict[str, int], name: str) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        dotted = f"{path}.{key.value}" if path else str(key.value)
        line = key.start_mark.line + 1
        if dotted in lines:
            message = f"'{dotted}' is given twice, first on line {lines[dotted]}"
            raise SettingsError(message, where=f"{name}:{line}", remedy="keep one of them")
        lines[dotted] = line
        _note_lines(value, dotted, lines, name)


def _remedy(text: str) -> str:
    if "\t" in text:
        return "indent with spaces, YAML allows no tabs; write 'key: value', with a space after the colon"
    return "write 'key: value', with a space after the colon, and indent all keys of a section alike"

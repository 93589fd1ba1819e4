"""The API's description, read out of `kfp_server_api`, which its makers generate from the OpenAPI document.

Each operation's path, parameters and types stand in the generated methods; each body's fields in the generated models.
"""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import kfp_server_api

_CALL = re.compile(r"call_api\(\s*'(?P<path>[^']+)', '(?P<verb>[A-Z]+)'")
_PATH_PARAMETER = re.compile(r"path_params\['([^']+)'\] = local_var_params\['(\w+)'\]")
_QUERY_PARAMETER = re.compile(r"query_params\.append\(\('([^']+)', local_var_params\['(\w+)'\]")
_BODY = re.compile(r"body_params = local_var_params\['(\w+)'\]")
_FILE = re.compile(r"local_var_files\['(\w+)'\]")
_RESPONSE = re.compile(r"response_type='([^']+)'")
_INT64 = ("max_concurrency", "interval_second")  # text in the description; protobuf's JSON takes numbers as well
_TEXTS = {
    "int": re.compile(r"-?\d+"),
    "bool": re.compile(r"true|false", re.IGNORECASE),
    "str": re.compile(r".*", re.DOTALL),
}


@dataclass(frozen=True)
class Operation:
    """One operation of the API: what it is asked with, and what it answers."""

    name: str
    verb: str
    path: re.Pattern[str]
    query: dict[str, str]
    required: frozenset[str]
    body: str | None
    file: str | None
    answer: str

    def check_query(self, values: dict[str, list[str]]) -> list[str]:
        """What is wrong with query parameters."""
        wrong = [f"unknown query parameter {name}" for name in values if name not in self.query]
        wrong += [f"query parameter {name} is missing" for name in self.required - set(values)]
        for name, texts in values.items():
            kind = self.query.get(name, "str")
            if len(texts) > 1:
                wrong.append(f"query parameter {name} is given {len(texts)} times")
            unfit = [text for text in texts if not _TEXTS[kind].fullmatch(text)]
            wrong += [f"query parameter {name}={text} is no {kind}" for text in unfit]
        return wrong


@functools.cache
def operations() -> list[Operation]:
    """All operations; where two paths match, the one with fewer parameters comes first."""
    services = [getattr(kfp_server_api, name) for name in dir(kfp_server_api) if name.endswith("ServiceApi")]
    methods = [
        method
        for service in services
        for name, method in inspect.getmembers(service, inspect.isfunction)
        if name.endswith("_with_http_info")
    ]
    return sorted((_operation(method) for method in methods), key=lambda one: one.path.pattern.count("(?P<"))


def find_operation(verb: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """The operation of a request, and its path parameters."""
    for operation in operations():
        matched = operation.path.fullmatch(path)
        if matched and operation.verb == verb:
            return operation, {name: unquote(text) for name, text in matched.groupdict().items()}
    return None


def check_value(value: Any, kind: str, where: str) -> list[str]:
    """What is wrong with a JSON value, against a type of the description.

    Args:
        value: as parsed.
        kind: as the models name it: str, list[str], dict(str, object), V2beta1Run ...
        where: name of the value.
    """
    if kind == "object":
        return []
    if kind.startswith("list["):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        checked = (check_value(one, kind[5:-1], f"{where}[{number}]") for number, one in enumerate(value))
        return [wrong for one in checked for wrong in one]
    if kind.startswith("dict("):
        if not isinstance(value, dict):
            return [f"{where} is no map"]
        inner = kind[5:-1].split(", ", 1)[1]
        return [wrong for name, one in value.items() for wrong in check_value(one, inner, f"{where}.{name}")]
    if kind in ("str", "int", "bool", "float", "datetime"):
        return [] if _is_primitive(value, kind, where) else [f"{where}={value!r} is no {kind}"]
    return _check_model(value, getattr(kfp_server_api, kind), where)


def _check_model(value: Any, model: Any, where: str) -> list[str]:
    if not model.openapi_types:  # an enumeration
        allowed = [text for name, text in vars(model).items() if name.isupper() and isinstance(text, str)]
        return [] if value in allowed else [f"{where}={value!r} is none of {allowed}"]
    if not isinstance(value, dict):
        return [f"{where} is no {model.__name__}"]
    kinds = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    wrong = [f"{where} has no field {name}" for name in value if name not in kinds]
    for name, one in value.items():
        if name in kinds:
            wrong += check_value(one, kinds[name], f"{where}.{name}")
    return wrong


def _is_primitive(value: Any, kind: str, where: str) -> bool:
    if kind == "datetime":
        try:
            return isinstance(value, str) and datetime.fromisoformat(value) is not None
        except ValueError:
            return False
    if kind == "str" and where.rpartition(".")[2] in _INT64:
        return isinstance(value, str | int) and str(value).isdecimal()
    wanted = {"str": str, "int": int, "bool": bool, "float": (int, float)}[kind]
    return isinstance(value, wanted) and not (kind == "int" and isinstance(value, bool))


def _operation(method: Any) -> Operation:
    source, documented = inspect.getsource(method), inspect.getdoc(method) or ""
    call = _CALL.search(source)
    assert call is not None, method
    kinds = dict(re.findall(r":type (\w+): (\S+?)(?:,|$)", documented, re.MULTILINE))
    needed = set(re.findall(r":param (\w+):(?:(?!:param|:type).)*\(required\)", documented, re.DOTALL))
    query = {wire: (name, kinds[name]) for wire, name in _QUERY_PARAMETER.findall(source)}
    body, file, answer = _BODY.search(source), _FILE.search(source), _RESPONSE.search(source)
    return Operation(
        name=method.__name__.removesuffix("_with_http_info"),
        verb=call["verb"],
        path=_path(call["path"], dict(_PATH_PARAMETER.findall(source))),
        query={wire: kind for wire, (_, kind) in query.items()},
        required=frozenset(wire for wire, (name, _) in query.items() if name in needed),
        body=kinds[body[1]] if body else None,
        file=file[1] if file else None,
        answer=answer[1] if answer else "object",
    )


def _path(template: str, parameters: dict[str, str]) -> re.Pattern[str]:
    """The pattern of a path such as /runs/{run_id}:archive."""
    parts = re.split(r"\{([^}]+)\}", template)
    texts = (re.escape(text) for text in parts[::2])
    groups = [f"(?P<{parameters[name]}>[^/:]+)" for name in parts[1::2]] + [""]
    return re.compile("".join(text + group for text, group in zip(texts, groups, strict=True)))

"""GenEval's names, and the form of its specs: what an image must include, how often, in which colour, where."""

from collections.abc import Collection, Mapping
from typing import Any

from advantageflow.errors import DataError
from advantageflow.suggestions import suggest

# A detector trained on COCO has these indices whatever it calls the classes: GenEval renames three of them (computer
# mouse, tv remote, computer keyboard), and others rename others, so a class is found by its index, never by its name.
CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "computer mouse", "tv remote",
    "computer keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock",
    "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")
COUNTING = "counting"  # the task whose detections must be surer than those of the others
TASKS = ("single_object", "two_object", COUNTING, "colors", "position", "color_attr")
MOST = 16  # detections of one class that count


def check_spec(spec: Mapping[str, Any]) -> None:
    """Raises DataError, naming the field, if the spec is not one of GenEval's form that can be met."""
    _check_name(spec.get("tag"), TASKS, "tag", what="tasks")
    check_include(spec, CLASSES, COLORS)
    exclude = [] if spec.get("exclude") is None else spec["exclude"]
    if not isinstance(exclude, list):
        raise DataError(f"{exclude!r} is not a list", where="exclude", remedy="give [{'class': ..., 'count': ...}]")
    for number, item in enumerate(exclude):
        _check_item(item, CLASSES, f"exclude[{number}]")
    for number, item in enumerate(spec["include"]):
        if item["count"] > MOST:
            message = f"count {item['count']} can never be met: at most {MOST} objects of a class are counted"
            raise DataError(message, where=f"include[{number}].count", remedy=f"ask for {MOST} or fewer")
        if item.get("position") is not None and item["position"][1] > number:
            message = f"index {item['position'][1]} names a later object; a position refers to an earlier one"
            remedy = "put the object that it refers to first"
            raise DataError(message, where=f"include[{number}].position[1]", remedy=remedy)


def check_include(spec: Mapping[str, Any], classes: Collection[str], colors: Collection[str]) -> None:
    """Check a spec's `include`: a list of {'class', 'count', 'color'?, 'position'?: [relation, index]}. Raises
    DataError: it is not of this form; names the field, such as `include[1].color`.
    """
    include = spec.get("include")
    if not isinstance(include, list) or not include:
        raise DataError("spec has no 'include' list", remedy="give at least {'class': ..., 'count': ...}")
    for number, item in enumerate(include):
        where = f"include[{number}]"
        _check_item(item, classes, where)
        if item.get("color") is not None:
            _check_name(item["color"], colors, f"{where}.color", what="colours")
        if item.get("position") is not None:
            _check_position(item["position"], number, len(include), f"{where}.position")


def _check_name(value: Any, allowed: Collection[str], where: str, *, what: str) -> None:
    """Raises DataError, with the nearest name as remedy, if the value is none of those allowed."""
    if value not in allowed:
        remedy = _nearest(value, allowed, what) if isinstance(value, str) else f"use one of the {what}"
        raise DataError(f"{value!r} is unknown among the {what} that can be judged", where=where, remedy=remedy)


def _nearest(name: str, allowed: Collection[str], what: str) -> str:
    """A remedy; COCO's 'keyboard' means 'computer keyboard', not 'skateboard', whose letters are nearer."""
    longer = [one for one in allowed if name.lower() in one.split()]
    return f"did you mean '{longer[0]}'?" if len(longer) == 1 else suggest(name, allowed, what=what)


def _check_item(item: Any, classes: Collection[str], where: str) -> None:
    if not isinstance(item, dict):
        raise DataError(f"{item!r} is not an object", where=where, remedy="give {'class': ..., 'count': ...}")
    _check_name(item.get("class"), classes, f"{where}.class", what="classes")
    count = item.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise DataError(f"invalid count {count!r}: not a whole number above 0", where=where, remedy="set count")


def _check_position(position: Any, number: int, objects: int, where: str) -> None:
    if not isinstance(position, list | tuple) or len(position) != 2:
        raise DataError(f"invalid position {position!r}: not [relation, index]", where=where, remedy="mend it")
    _check_name(position[0], RELATIONS, f"{where}[0]", what="relations")
    index = position[1]
    if not isinstance(index, int) or isinstance(index, bool) or index not in range(objects) or index == number:
        raise DataError(f"index {index!r} names no other object", where=f"{where}[1]", remedy="mend it")

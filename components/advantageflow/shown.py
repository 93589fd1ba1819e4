"""Texts from outside, as they may be shown: without what a terminal obeys, without passwords in addresses."""

import logging
import re
from typing import Any

# All but tab and end of line; halves of surrogate pairs too, as which bytes that are not UTF-8 come from a shell.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PASSWORD = re.compile(  # which may hold a slash, as SQLAlchemy takes it; what only digits go before is a port
    r"((?<![\w+.-])\w[\w+.-]*://[^\s/?#@:'\"\[]*):(?!\d{1,5}(?:[/?#\s'\"]|$))[^\s'\"]{1,2000}@"
)
_TOKEN = re.compile(r"(://)[^\s/?#@:'\"\[]{20,}(?=@)")  # in place of a name and a password
_MARKDOWN = re.compile(r"[\\`*\[\]|~$!]|^[#+-]|(?<!\w)_|_(?!\w)")
_QUERY = re.compile(
    r"([?&](?:[\w%-]{0,100}[-_])?(?:password|passwd|pwd|token|(?:api|access)?_?key|secret|sig|signature|credential)=)"
    r"[^&\s'\"]+",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """The text with *** for passwords in its addresses: user:password@host, long-token@host, ?token= and the like."""
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1***", _TOKEN.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text)))


def printable(text: str) -> str:
    """The text with its passwords masked, and � for characters that move the cursor, colour or reorder what is seen."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", masked(text))


def markdown(text: str) -> str:
    """The text as Markdown shows it, in one line, with nothing in it that Markdown or HTML would obey."""
    plain = " ".join(printable(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("://", "&#58;//")
    return _MARKDOWN.sub(r"\\\g<0>", plain)


def brief(value: Any) -> str:
    """A value as Python writes it, cut at 60 letters."""
    try:
        text = repr(value)
    except Exception as error:  # somebody's own object, or a number of thousands of digits
        text = f"a {type(value).__name__} ({error})"
    return text if len(text) <= 60 else f"{text[:57]}..."


def first_line(error: BaseException | None) -> str:
    """What an error says, without what libraries add below, such as SQL."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


class ShownFormatter(logging.Formatter):
    """Formats log records as `printable` shows them."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))

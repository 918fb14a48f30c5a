"""Reads the filter of an aggregation: which rows count, such as "amount > 100 and channel == 'web'".

A filter is a small part of Python's expressions: comparisons of columns with constants or columns, `in` with a list,
`is None`, a column of booleans by itself, and `and`, `or`, `not`. It is read as text and never executed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from trimtab.errors import DefinitionError

EXPECTED = "expected such as \"amount > 100 and channel == 'web'\""
WORDS: dict[type[ast.cmpop], str] = {
    ast.Eq: "is",
    ast.NotEq: "not",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.In: "in",
    ast.NotIn: "not_in",
    ast.Is: "is",
    ast.IsNot: "is_not",
}
"""Operators that a filter may have, and how they are written in the name of a feature."""
LONGEST = 48
"""Most characters of a filter in the name of a feature."""

_OTHER_LANGUAGES = (
    (r"<>", "write != for unequal"),
    (r"(?<![<>=!])=(?!=)", "write == for equal"),
    (r"&|\||~", "write and, or, not"),
    (r"\b(AND|OR|NOT|IN|IS)\b", "write and, or, not, in, is in lower case"),
    (r"(?i)\bis\s+(not\s+)?null\b", "write 'is None' or 'is not None'"),
    (r"`", "a column must have a name of letters, digits and underscores"),
)


def canonical(where: str, text: str) -> str:
    """Return a filter in its one spelling, so that equal filters have equal hashes.

    Args:
        where: names the aggregation in messages.
        text: the filter.

    Raises:
        DefinitionError: the text is no filter.
    """
    return ast.unparse(_checked(where, text))


def parsed(text: str) -> ast.expr:
    """Return a canonical filter as a tree of the nodes that `canonical` allows."""
    return _checked("where", text)


def columns_of(text: str) -> tuple[str, ...]:
    """Return the columns that a canonical filter reads, each once."""
    return tuple(dict.fromkeys(node.id for node in ast.walk(parsed(text)) if isinstance(node, ast.Name)))


def in_words(text: str) -> str:
    """Return a canonical filter as part of a feature's name: "amount > 100" -> "amount_gt_100"."""
    words = "_".join(_words(parsed(text)))
    plain = re.sub(r"_+", "_", re.sub(r"\W", "_", words, flags=re.ASCII)).strip("_")
    return plain if len(plain) <= LONGEST else plain[:LONGEST].rstrip("_")


def _checked(where: str, text: object) -> ast.expr:
    if not isinstance(text, str) or not text.strip():
        raise DefinitionError(f"{where}: where is {text!r}; {EXPECTED}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _error(where, text, "it cannot be read") from None
    if found := next(_wrong(tree), None):
        raise _error(where, text, found)
    return tree


def _error(where: str, text: str, reason: str) -> DefinitionError:
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "''", text)
    hint = next((f" ({hint})" for pattern, hint in _OTHER_LANGUAGES if re.search(pattern, bare)), "")
    return DefinitionError(f"{where}: where={text!r}: {reason}{hint}; {EXPECTED}")


def _wrong(node: ast.expr) -> Iterator[str]:
    """Yield what is wrong with a condition."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _wrong(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield from _wrong(node.operand)
    elif isinstance(node, ast.Compare):
        yield from _wrong_comparison(node)
    elif isinstance(node, ast.Name):
        if node.id in ("true", "false", "null", "none", "nan", "NULL", "TRUE", "FALSE"):
            yield f"'{node.id}' is no column here; constants are True, False and None"
    else:
        yield f"'{ast.unparse(node)}' is no condition"


def _wrong_comparison(node: ast.Compare) -> Iterator[str]:
    sides = [node.left, *node.comparators]
    shown = ast.unparse(node)
    for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
        if type(op) not in WORDS:
            yield f"'{shown}' is no comparison"
        elif isinstance(op, ast.In | ast.NotIn):
            yield from _wrong_list(left, right, shown)
        elif isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(left, ast.Name) and isinstance(right, ast.Constant) and right.value is None):
                yield f"'{shown}': `is` compares a column with None"
        else:
            for side in (left, right):
                if isinstance(side, ast.Name):
                    yield from _wrong(side)
                elif isinstance(side, ast.Constant) and side.value is None:
                    yield f"'{shown}': a missing value equals nothing; write 'is None' or 'is not None'"
                elif not _is_constant(side):
                    yield f"'{ast.unparse(side)}' is neither a column nor a constant"
    if not any(isinstance(side, ast.Name) for side in sides):
        yield f"'{shown}' compares no column"


def _wrong_list(left: ast.expr, right: ast.expr, shown: str) -> Iterator[str]:
    if not isinstance(left, ast.Name):
        yield f"'{shown}': a column must stand before `in`"
    if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not right.elts:
        yield f"'{shown}': a list of constants must stand after `in`"
        return
    for item in right.elts:
        if not _is_constant(item) or (isinstance(item, ast.Constant) and item.value is None):
            yield f"'{ast.unparse(item)}' in a list is no text, number, True or False"
    if len({type(constant(item)) is str for item in right.elts if _is_constant(item)}) > 1:
        yield f"'{shown}': a list of both texts and numbers"


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return isinstance(node.operand, ast.Constant) and type(node.operand.value) in (int, float)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float, str, bool)


def constant(node: ast.expr) -> int | float | str | bool:
    """Return the value of a constant in a filter."""
    value: int | float | str | bool = ast.literal_eval(node)
    return value


def _words(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.BoolOp):
        for n, value in enumerate(node.values):
            if n:
                yield "and" if isinstance(node.op, ast.And) else "or"
            yield from _words(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not"
        yield from _words(node.operand)
    elif isinstance(node, ast.Compare):
        yield from _words(node.left)
        for op, right in zip(node.ops, node.comparators, strict=True):
            yield WORDS[type(op)]
            yield from _words(right)
    elif isinstance(node, ast.List | ast.Tuple | ast.Set):
        for item in node.elts:
            yield from _words(item)
    elif isinstance(node, ast.Name):
        yield node.id
    else:
        yield str(constant(node)).replace("-", "minus_")

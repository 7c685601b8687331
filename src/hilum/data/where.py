"""Filters over a manifest's columns, in a small language that can only compare."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from hilum.errors import DataError, RequestError
from hilum.recipe.load import nearest

_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_HELP = 'A filter is like: view == "PA" and age_years >= 18, source in ["cohen", "kermany"], missing(sex)'
# Quoted texts stay as they are; a column between backticks may have any name, and `class` is Python's own word.
_TOKENS = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|`([^`]*)`|\b(class)\b""")


def where(manifest: pd.DataFrame, expression: str) -> pd.DataFrame:
    """The rows for which an expression holds; all rows for an empty expression.

    Columns are compared with texts, numbers and each other by ==, !=, <, <=, >, >=, `in [..]` and `not in [..]`; `and`,
    `or`, `not` and brackets join comparisons; missing(column) tells missing values. A column of an unusual name stands
    between backticks. A missing value is neither equal nor unequal to anything: its row is kept only where the
    expression holds whatever the value may be, or asks for missing().

    Refused with RequestError: an expression that is not of this language, an unknown column (the nearest is named), a
    text compared with numbers. Refused with DataError: a filter that leaves no row, with the values that there are.

    >>> films = pd.DataFrame({"view": ["PA", "AP", None], "age_years": [4, 60, 50]})
    >>> where(films, 'view != "PA"')["age_years"].tolist()
    [60]
    >>> where(films, 'missing(view) or age_years < 18')["age_years"].tolist()
    [4, 50]
    """
    if not expression.strip():
        return manifest
    kept = manifest[mask(manifest, expression)].reset_index(drop=True)
    if kept.empty and len(manifest):
        raise DataError(
            f"the filter leaves none of the {len(manifest)} films",
            where=f"--where {expression}",
            next_step=" ".join(_values(manifest, name) for name in _columns_of(expression, manifest)),
        )
    return kept


def mask(manifest: pd.DataFrame, expression: str) -> pd.Series:
    """Of each row, whether the expression holds; see `where`."""
    tree, names = _parse(expression)
    value = _Evaluator(manifest, expression, names).value(tree)
    if not _is_logical(value):
        raise _refused(expression, "this says no condition")
    return value.fillna(False).astype(bool)


def _parse(expression: str) -> tuple[ast.expr, dict[str, str]]:
    """The expression's tree, and the column behind each name that stands in it for one."""
    names: dict[str, str] = {}

    def plain(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        stand_in = f"column_{len(names)}_"
        names[stand_in] = match[2] or match[3]
        return stand_in

    try:
        return ast.parse(_TOKENS.sub(plain, expression.strip()), mode="eval").body, names
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        one_equals = re.search(r"[^=!<>]=[^=]", _TOKENS.sub("", expression))
        what = "a comparison is written with two signs, ==" if one_equals else "this is no filter"
        raise _refused(expression, what) from None


class _Evaluator:
    """Walks the tree and knows only what is written here; nothing else can run."""

    def __init__(self, manifest: pd.DataFrame, expression: str, names: Mapping[str, str]) -> None:
        self.manifest, self.expression, self.names = manifest, expression, names

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.BoolOp(op=op, values=values):
                join = operator.and_ if isinstance(op, ast.And) else operator.or_
                result = self.condition(values[0])
                for other in values[1:]:
                    result = join(result, self.condition(other))
                return result
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self.condition(operand)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.Compare():
                return self.comparison(node)
            case ast.Name(id=name):
                return self.column(name)
            case ast.Constant(value=str() | int() | float() as constant):
                return constant
            case ast.Call(func=ast.Name(id="missing"), args=[ast.Name(id=name)], keywords=[]):
                return self.column(name).isna().astype("boolean")
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                raise _refused(self.expression, "conditions are joined with the words and, or")
            case ast.Call(func=ast.Name(id=name)):
                raise _refused(self.expression, f"{name!r} is not known; there is missing(column)")
            case _:
                raise _refused(self.expression, f"{ast.unparse(node)!r} is not understood")

    def condition(self, node: ast.expr) -> pd.Series:
        value = self.value(node)
        if not _is_logical(value):
            raise _refused(self.expression, f"{self.text(node)!r} is no condition")
        return value.astype("boolean")

    def comparison(self, node: ast.Compare) -> pd.Series:
        left, result = node.left, None
        for op, right in zip(node.ops, node.comparators, strict=True):
            one = (
                self.membership(left, op, right) if isinstance(op, ast.In | ast.NotIn) else self.order(left, op, right)
            )
            result = one if result is None else result & one
            left = right
        assert result is not None  # a comparison has one operator at least
        return result

    def order(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pd.Series:
        if type(op) not in _COMPARE:
            raise _refused(self.expression, "missing values are asked for with missing(column)")
        a, b = self.value(left), self.value(right)
        if not isinstance(a, pd.Series) and not isinstance(b, pd.Series):
            raise _refused(self.expression, f"{self.text(left)} and {self.text(right)} are no columns")
        self.check_kinds(a, b, left, right)
        result = _COMPARE[type(op)](a, b)
        return result.astype("boolean").mask(_missing(a) | _missing(b))

    def membership(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pd.Series:
        column = self.value(left)
        if not isinstance(column, pd.Series) or not isinstance(right, ast.List | ast.Tuple):
            raise _refused(self.expression, 'in is written: column in ["one", "two"]')
        values = [self.value(element) for element in right.elts]
        for value, element in zip(values, right.elts, strict=True):
            self.check_kinds(column, value, left, element)
        result = column.isin(values).astype("boolean")
        return (~result if isinstance(op, ast.NotIn) else result).mask(column.isna())

    def check_kinds(self, a: Any, b: Any, left: ast.expr, right: ast.expr) -> None:
        kinds = _kind(a), _kind(b)
        if kinds[0] != kinds[1] and "nothing" not in kinds:
            raise _refused(self.expression, f"{self.text(left)} is {kinds[0]} and {self.text(right)} is {kinds[1]}")

    def column(self, name: str) -> pd.Series:
        name = self.names.get(name, name)
        if name not in self.manifest.columns:
            hint = nearest(name, map(str, self.manifest.columns))
            raise RequestError(
                f"there is no column {name!r}",
                where=f"--where {self.expression}",
                next_step=f"{hint} A text stands in quotes." if hint.startswith("Did") else f"{hint}.",
            )
        return _usable(self.manifest[name])

    def text(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        for stand_in, name in self.names.items():
            text = text.replace(stand_in, name)
        return text


def _usable(column: pd.Series) -> pd.Series:
    """The column with a type that knows missing values, and text as text."""
    if pd.api.types.is_bool_dtype(column):
        return column.astype("boolean")
    if pd.api.types.is_numeric_dtype(column):
        return column.astype("Float64")
    return column.astype("string")


def _missing(value: Any) -> Any:
    return value.isna() if isinstance(value, pd.Series) else False


def _is_logical(value: Any) -> bool:
    return isinstance(value, pd.Series) and pd.api.types.is_bool_dtype(value)


def _kind(value: Any) -> str:
    if isinstance(value, pd.Series):
        if value.isna().all():
            return "nothing"
        return "yes or no" if _is_logical(value) else "a number" if value.dtype == "Float64" else "text"
    return "yes or no" if isinstance(value, bool) else "text" if isinstance(value, str) else "a number"


def _columns_of(expression: str, manifest: pd.DataFrame) -> list[str]:
    tree, names = _parse(expression)
    found = [names.get(node.id, node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return [name for name in dict.fromkeys(found) if name in manifest.columns]


def _values(manifest: pd.DataFrame, name: str) -> str:
    """What a column holds, in a sentence."""
    column = _usable(manifest[name])
    known = column.dropna()
    missing = f", missing ({int(column.isna().sum())})" if column.isna().any() else ""
    if known.empty:
        return f"{name} is missing throughout."
    if column.dtype == "Float64":
        return f"{name} goes from {known.min():g} to {known.max():g}{missing}."
    counts = known.value_counts()
    few = ", ".join(f"{value} ({count})" for value, count in counts.head(8).items())
    return f"{name} holds {few}{', ...' if len(counts) > 8 else ''}{missing}."


def _refused(expression: str, what: str) -> RequestError:
    return RequestError(what, where=f"--where {expression}", next_step=f"{_HELP}.")

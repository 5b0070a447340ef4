"""Forms of values that files hold, such as the configuration of a checkpoint: a value is checked before it is used.

A form is a function of a value and of its name in errors, which raises `HypermeterError` for a value of another form.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from hypermeter.core.errors import HypermeterError, shorten

Form = Callable[[Any, str], None]


def whole(low: int, high: int) -> Form:
    """Return the form of whole numbers from `low` to `high`, which true and false are not."""
    return _form(lambda value: type(value) is int and low <= value <= high, f"a whole number from {low} to {high}")


def number(low: float, high: float) -> Form:
    """Return the form of numbers from `low` to `high`."""

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    return _form(lambda value: is_number(value) and math.isfinite(value), f"a number from {low:g} to {high:g}")


def text(longest: int = 200) -> Form:
    """Return the form of texts of at most so many characters."""
    return _form(
        lambda value: isinstance(value, str) and len(value) <= longest, f"text of at most {longest} characters"
    )


def one_of(*values: str) -> Form:
    """Return the form of some texts."""
    return _form(lambda value: isinstance(value, str) and value in values, " or ".join(values))


def maybe(form: Form) -> Form:
    """Return the form of null, and of what `form` takes."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            form(value, where)

    return check


def list_of(form: Form, longest: int) -> Form:
    """Return the form of lists of at most so many values that `form` takes."""
    is_list = _form(
        lambda value: isinstance(value, list) and len(value) <= longest, f"a list of at most {longest} values"
    )

    def check(value: Any, where: str) -> None:
        is_list(value, where)
        for index, item in enumerate(value):
            form(item, f"{where}[{index}]")

    return check


def record(required: Mapping[str, Form], optional: Mapping[str, Form] | None = None) -> Form:
    """Return the form of objects by the forms of their fields; fields without a form are not checked."""
    forms = {**(optional or {}), **required}

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise HypermeterError(f"{where} is {shorten(repr(value), 60)}, expected an object")
        if missing := sorted(set(required) - set(value)):
            raise HypermeterError(f"{where}: nothing of {', '.join(missing)}")
        for name in forms.keys() & value.keys():
            forms[name](value[name], f"{where}.{name}")

    return check


flag: Form


def _form(fits: Callable[[Any], bool], expected: str) -> Form:
    def check(value: Any, where: str) -> None:
        if not fits(value):
            raise HypermeterError(f"{where} is {shorten(repr(value), 60)}, expected {expected}")

    return check


flag = _form(lambda value: isinstance(value, bool), "true or false")
"""The form of true and false."""
anything: Form = _form(lambda value: True, "anything")
"""The form of every value, of a field that has to be there and is checked elsewhere."""

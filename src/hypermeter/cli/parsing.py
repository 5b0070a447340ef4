"""Command-line arguments to a function's arguments, by tyro; a mistake becomes one line."""

import contextlib
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from functools import partial, wraps
from inspect import signature
from shutil import get_terminal_size
from textwrap import fill
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    UnsupportedTypeAnnotationError,
)

from hypermeter.core.errors import HypermeterError

CONFIG = (tyro.conf.PositionalRequiredArgs, tyro.conf.OmitArgPrefixes)

_FRAME = "╭╮╰╯│─ "
_MISSING = re.compile(r"Missing from .*?: *(\S+) (.*)")
_NO_VALUE = re.compile(r"Missing value for argument '(.+?)'.*")
_UNKNOWN = re.compile(r"Unrecognized options: (.*)")
_NOT_READ = re.compile(r"Error parsing (\S+): (.*)")
_NOT_A_NUMBER = re.compile(r"(invalid literal for int\(\)|could not convert string to float).*?: ('.*')")
_INSTEAD = re.compile(r"Perhaps you meant: *(-\S+)")


def parse(function: Callable[..., Any], arguments: Sequence[str], name: str, examples: Sequence[str]) -> partial[Any]:
    """Return the function with its arguments, ready to be called.

    Args:
        function: its signature names the options; its docstring describes them.
        arguments: what follows the command's name.
        name: of the command, as in "hypermeter generate".
        examples: command lines to show in the help.

    Raises:
        HypermeterError: arguments that the function does not take, in one line.
        SystemExit: once the help is printed.
    """

    @wraps(function)
    def bind(*args: Any, **options: Any) -> partial[Any]:
        return partial(function, *args, **options)

    bind.__annotations__ = _with_quick_unions(function.__annotations__)
    del bind.__wrapped__  # or its annotations would be read
    given = signature(function)
    parameters = [
        item.replace(annotation=bind.__annotations__.get(name, Any)) for name, item in given.parameters.items()
    ]
    bind.__signature__ = given.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            bound = tyro.cli(
                bind,
                args=arguments,
                prog=name,
                config=CONFIG,
                registry=_registry(),
                description=_description(function, examples),
            )
    except SystemExit as error:
        if error.code:
            raise HypermeterError(_one_line(output.getvalue(), name)) from None
        raise
    print(output.getvalue(), end="", file=sys.stderr)  # warnings
    return bound


def _with_quick_unions(annotations: Mapping[str, Any]) -> dict[str, Any]:
    """Return the annotations with `X | None` as an equal `typing.Union`, with None first, in their dataclasses too.

    The help says nothing of the default None, which means that an option is left out.

    tyro compares each default with its type. Of a `types.UnionType` it does so by typeguard, which imports
    unittest.mock and asyncio: a tenth of a second of each start.
    """
    quick = dict(annotations)
    for name, kind in annotations.items():
        metadata = getattr(kind, "__metadata__", ())
        bare = get_args(kind)[0] if metadata else kind
        if get_origin(bare) in (Union, UnionType) and NoneType in get_args(bare):
            union = Union[(NoneType, *(option for option in get_args(bare) if option is not NoneType))]
            arguments = [item for item in metadata if hasattr(item, "help_behavior_hint")] or [tyro.conf.arg()]
            others = [item for item in metadata if item not in arguments]
            quiet = [replace(item, help_behavior_hint="") for item in arguments]
            quick[name] = Annotated[(union, *others, *quiet)]
        elif is_dataclass(bare) and isinstance(bare, type):
            bare.__annotations__ = _with_quick_unions(bare.__annotations__)
    return quick


def _description(function: Callable[..., Any], examples: Sequence[str]) -> str:
    """Return the docstring up to its sections, with the examples after its first line."""
    text = re.split(r"\n\s*(?:Args|Raises|Returns|Source):\n", function.__doc__ or "")[0]
    first, _, rest = text.strip().partition("\n")
    shown = "".join(f"\n  {line}" for line in examples)
    width = get_terminal_size().columns
    rest = "\n\n".join(fill(" ".join(paragraph.split()), width) for paragraph in rest.strip().split("\n\n"))
    return "\n\n".join(part for part in (first, f"Examples:{shown}" if examples else "", rest) if part)


def _registry() -> ConstructorRegistry:
    """Return rules by which `X | None` reads and shows as X: to say None is to leave the option out."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def read_optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | UnsupportedTypeAnnotationError | None:
        kinds = [kind for kind in get_args(info.type) if kind is not NoneType]
        if get_origin(info.type) not in (Union, UnionType) or len(kinds) != 1:
            return None
        spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kinds[0], info.markers))
        if isinstance(spec, UnsupportedTypeAnnotationError):
            return spec
        return PrimitiveConstructorSpec(
            nargs=spec.nargs,
            metavar=spec.metavar,
            instance_from_str=spec.instance_from_str,
            is_instance=lambda value: value is None or spec.is_instance(value),
            str_from_instance=lambda value: ["None"] if value is None else spec.str_from_instance(value),
            choices=spec.choices,
        )

    return registry


def _one_line(text: str, name: str) -> str:
    """Return tyro's message, which is a box of several parts, as one line."""
    lines = [line.strip(_FRAME) for line in text.splitlines()[1:]]
    parts = [" ".join(part.split()) for part in "\n".join(line or "\0" for line in lines).split("\0")]
    first = parts[0] if parts else text
    help_line = f"see {name} --help"
    if match := _MISSING.fullmatch(first):
        return f"{match[1]} is missing: {match[2].removesuffix(' (required)').rstrip('.')}; {help_line}"
    if match := _NO_VALUE.fullmatch(first):
        return f"{match[1]}: expected a value after it; {help_line}"
    if match := _UNKNOWN.fullmatch(first):
        instead = next((nearest[1] for part in parts if (nearest := _INSTEAD.match(part))), None)
        perhaps = f"; perhaps {instead}" if instead else ""
        return f"{match[1].replace(', ', ' ')}: {name} takes no such argument{perhaps}; {help_line}"
    if match := _NOT_READ.fullmatch(first):
        reason = match[2]
        if number := _NOT_A_NUMBER.fullmatch(reason):
            kind = "a whole number" if "int" in number[1] else "a number"
            return f"{match[1]} is {number[2]}, expected {kind}; {help_line}"
        return f"{match[1]}: {reason.rstrip('.!')}; {help_line}"
    return f"{first.rstrip('.')}; {help_line}"

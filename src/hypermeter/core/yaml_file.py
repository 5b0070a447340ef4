"""Reading the YAML of kits and maps."""

from typing import Any

from hypermeter.core.errors import HypermeterError


def parse_yaml(text: str, where: str, form: str) -> dict[Any, Any]:
    """Return the mapping that a YAML text holds.

    Args:
        text: the YAML.
        where: its name in errors.
        form: a line as it should be, for errors.

    Raises:
        HypermeterError: no YAML, no mapping, an empty one, or a key that occurs twice (YAML keeps the last in silence).
    """
    import yaml  # here, since most modules that import this one read no YAML

    class NoDuplicates(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for number, key in enumerate(keys):
                if key in keys[:number]:
                    raise yaml.constructor.ConstructorError(None, None, f"{key} is there twice", node.start_mark)
            return super().construct_mapping(node, deep)

    try:
        entries = yaml.load(text, Loader=NoDuplicates)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "bad characters"
        raise HypermeterError(f"{where}: not YAML{line} ({problem}); expected lines as {form}") from error
    if not isinstance(entries, dict) or not entries:
        raise HypermeterError(f"{where}: expected lines as {form}")
    return entries

"""Reading YAML: plain values alone, within limits, for kits, maps, feels and rewards."""

from functools import cache
from pathlib import Path
from typing import Any

from hypermeter.core.errors import HypermeterError, shorten

MAX_BYTES = 2**17
"""Size of the longest text that is read; it takes about a second."""

MAX_DEPTH = 16
"""Lists and mappings within each other. The records of the package have 4."""

MAX_DIGITS = 40
"""Characters of the longest number."""


def read_yaml(path: str | Path, what: str, form: str) -> dict[Any, Any]:
    """Return the mapping that a YAML file holds, as `parse_yaml` does.

    Args:
        path: the file.
        what: what the file is, for errors, as kit.
        form: a line as it should be, for errors.

    Raises:
        HypermeterError: a file that cannot be read or is not text in UTF-8; as `parse_yaml`.
    """
    return parse_yaml(read_text(path, what), str(path), form)


def read_text(path: str | Path, what: str) -> str:
    """Return the text of a file of at most `MAX_BYTES`; the arguments and errors are those of `read_yaml`."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise HypermeterError(f"{path}: longer than {MAX_BYTES >> 10} KiB, no {what}; choose another file")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise HypermeterError(f"{path}: the {what} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise HypermeterError(f"{path}: the {what} is not text in UTF-8; save it as UTF-8") from error
    except ValueError as error:  # a NUL in the path
        raise HypermeterError(f"{str(path)!r}: the {what} cannot be read ({error}); check the path") from error


def parse_yaml(text: str, where: str, form: str) -> dict[Any, Any]:
    """Return the mapping that a YAML text holds: of text, numbers, true, false, null, lists and mappings.

    What YAML 1.1 takes for a date stays text.

    Args:
        text: the YAML.
        where: its name in errors.
        form: a line as it should be, for errors.

    Raises:
        HypermeterError: no YAML, no mapping, an empty one; a key that occurs twice (YAML keeps the last in silence) or
            is a list or mapping; tags, anchors and aliases; a text, number or nesting beyond the limits of this module.
    """
    import yaml  # here, since most modules that import this one read no YAML

    if len(text) > MAX_BYTES:
        raise HypermeterError(f"{where}: longer than {MAX_BYTES >> 10} KiB; expected lines as {form}")
    try:
        entries = yaml.load(text, Loader=_plain_loader())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = shorten(getattr(error, "problem", None) or "bad characters", 200)
        raise HypermeterError(f"{where}: not YAML{line} ({problem}); expected lines as {form}") from error
    if not isinstance(entries, dict) or not entries:
        raise HypermeterError(f"{where}: expected lines as {form}")
    return entries


@cache
def _plain_loader() -> Any:
    import yaml

    def refuse(problem: str, mark: Any) -> None:
        raise yaml.MarkedYAMLError(None, None, problem, mark)

    class PlainLoader(yaml.SafeLoader):
        """Builds plain values alone."""

        depth = 0

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            event = self.peek_event()
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                refuse("anchors and aliases are not read; write the value out", event.start_mark)
            if tag := getattr(event, "tag", None):
                refuse(f"tags as {shorten(tag, 60)} are not read; leave it out", event.start_mark)
            self.depth += 1
            if self.depth > MAX_DEPTH:
                refuse(f"lists and mappings nested more than {MAX_DEPTH} deep", event.start_mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_scalar(self, node: yaml.ScalarNode) -> Any:
            if node.tag.endswith((":int", ":float")) and len(node.value) > MAX_DIGITS:
                refuse(f"a number of {len(node.value)} characters, expected at most {MAX_DIGITS}", node.start_mark)
            return super().construct_scalar(node)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            found = set()
            for key_node, _ in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    refuse("a list or mapping as a key", key_node.start_mark)
                key = self.construct_object(key_node)
                if key in found:
                    refuse(f"{shorten(str(key), 60)} is there twice", node.start_mark)
                found.add(key)
            return super().construct_mapping(node, deep)

        def construct_number(self, node: yaml.ScalarNode) -> Any:
            try:
                by_tag = self.construct_yaml_int if node.tag.endswith(":int") else self.construct_yaml_float
                return by_tag(node)
            except (ValueError, OverflowError):  # such as 0b, which YAML 1.1 takes for a number
                return self.construct_scalar(node)

    for kind in "int", "float":
        PlainLoader.add_constructor(f"tag:yaml.org,2002:{kind}", PlainLoader.construct_number)
    unread = ("timestamp", "merge", "value")
    PlainLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in unread]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return PlainLoader

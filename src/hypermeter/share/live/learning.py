"""Learning a map: a control is named, somebody moves it, and it is written into the map's file."""

import queue
from collections.abc import Callable, Sequence
from pathlib import Path

from hypermeter.core.errors import HypermeterError
from hypermeter.share.live.control_map import Key, Target, add_to_map, key_text, read_map, read_message
from hypermeter.share.live.hearing import SYSTEM


def learn_controls(
    targets: Sequence[str],
    path: Path,
    next_message: Callable[[], Sequence[int]],
    report: Callable[[str], None] = print,
) -> None:
    """Ask for the control of each target in turn, and write it into the map.

    A control that was learnt before in the same run counts no more: a fader sends many messages.

    Args:
        targets: what the controls are to do, as `fill` or `density 0..0.3`.
        path: of the map, which is made if need be; its other lines stay.
        next_message: waits for a MIDI message.
        report: called with lines for people.

    Raises:
        HypermeterError: a target that is none, or a file that is no map.
    """
    for target in targets:
        Target.of(target, "cc", "--learn")
    if path.exists() and path.read_bytes().strip():
        read_map(path)
    learnt: set[Key] = set()
    for target in targets:
        report(f"{target}: press or move its control")
        while True:
            message = next_message()
            moved = read_message(message) if len(message) > 1 and message[0] < SYSTEM else None
            if moved is None or not moved[1] or moved[0] in learnt:
                continue
            key = moved[0]
            try:
                Target.of(target, key[0], key_text(key))
            except HypermeterError as error:
                report(f"{error}; press or move another one")
                continue
            learnt.add(key)
            add_to_map(path, key, target)
            report(f"{key_text(key)}: {target}")
            break


def waiting(messages: "queue.SimpleQueue[tuple[int, ...]]") -> tuple[int, ...]:
    """Return the next of the messages that another thread puts there, once there is one; Ctrl-C ends the wait."""
    while True:
        try:
            return messages.get(timeout=0.2)
        except queue.Empty:
            continue

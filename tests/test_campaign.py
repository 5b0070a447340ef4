"""A short round of the campaign, with a fresh seed, and the campaign's own parts."""

import secrets
import signal
import time

import pytest

from campaign import kill
from campaign.limits import make_input, run, try_inputs
from campaign.reader import Reader
from campaign.readers import READERS
from hypermeter.core.errors import HypermeterError

INPUTS = 12
BY_NAME = {reader.name: reader for reader in READERS}


@pytest.mark.filterwarnings("ignore")  # of what is left out; an error is one that is raised
@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "manifest"])
def test_whatever_comes_is_read_or_refused_in_one_line(name, tmp_path):
    reader, seed = BY_NAME[name], secrets.randbelow(2**32)
    try:
        reader.needs()
    except Exception as error:
        pytest.skip(f"{name} cannot be tried: {error}")
    for number in range(INPUTS):
        content = make_input(reader, seed, number)
        outcome, what = run(reader, content, tmp_path / str(number))
        again = f"make campaign SEED={seed}, {name}, input {number}"
        assert outcome in ("read", "refused"), f"{what}; {again}; {content[:200]!r}"


@pytest.mark.parametrize("name", BY_NAME)
def test_an_input_is_made_again_from_its_number(name):
    reader = BY_NAME[name]
    try:
        reader.needs()
    except Exception as error:
        pytest.skip(f"{name} cannot be tried: {error}")
    assert make_input(reader, 3, 5) == make_input(reader, 3, 5)
    assert len({make_input(reader, 3, number) for number in range(8)}) > 1


def test_all_else_than_one_line_is_a_finding(tmp_path):
    def reader(error):
        def read(content, folder):
            raise error

        return Reader("a", lambda random: b"", read)

    assert run(reader(HypermeterError("a: b")), b"", tmp_path / "a") == ("refused", "")
    assert run(Reader("a", lambda random: b"", lambda content, folder: None), b"", tmp_path / "b") == ("read", "")
    for error in (ValueError("b"), RecursionError(), MemoryError(), SystemExit(3), HypermeterError("")):
        assert run(reader(error), b"", tmp_path / "c")[0] == "found", error


def test_inputs_are_counted_in_a_process_of_their_own():
    tally = try_inputs(BY_NAME["metres"], 1, range(5))
    assert sum(tally.counts.values()) == 5 and tally.counts["found"] == 0 and 0 < tally.peak_bytes + 1 < 10**9


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_the_workers_of_prepare_end_with_it(number, tmp_path):
    (command,) = (command for command in kill.COMMANDS if command.name == "prepare")
    kill.make_source(tmp_path / "source")
    process = kill.start(command, tmp_path / "source", tmp_path / "out")
    deadline = time.monotonic() + 60
    while len(kill.processes_of(process.pid)) < 3 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate()
    while kill.processes_of(process.pid):
        assert time.monotonic() < deadline, "its workers stay"
        time.sleep(0.1)
    assert not kill.half_files(tmp_path / "out")

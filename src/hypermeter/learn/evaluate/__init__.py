"""The benchmark card: predictions of held-out performances, and the system's own music compared with people's."""

from typing import TYPE_CHECKING

from hypermeter.learn.lazy import offer

if TYPE_CHECKING:
    from hypermeter.learn.evaluate.card import (
        card,
        evaluate,
        evaluate_bits,
        evaluate_music,
    )
    from hypermeter.learn.evaluate.command import evaluate_command
    from hypermeter.learn.evaluate.floors import FLOORS, floors
    from hypermeter.learn.evaluate.held_out import read_performances
    from hypermeter.learn.evaluate.likelihood import (
        BOOTSTRAP_DRAWS,
        bits_of_parts,
        bits_per_step,
        forecasts,
        one_step_ahead,
        performance_bits,
        summarize,
    )
    from hypermeter.learn.evaluate.music import compare_music, cut, generated_pieces
else:
    offer(__name__)

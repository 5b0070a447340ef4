"""A drum model played by ONNX Runtime alone, without PyTorch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.play.plan import PlanArrays
from hypermeter.play.runtime.expression import perform
from hypermeter.play.runtime.folder import Folder
from hypermeter.play.runtime.infill import Infilled, infill, vary
from hypermeter.play.runtime.mixture import Lock, Rules
from hypermeter.play.runtime.playing import Playing
from hypermeter.play.runtime.rng import HITS, Streams

Hits = NDArray[np.uint8]


@dataclass(frozen=True)
class OnnxPlayer:
    """A model that ``hypermeter export`` wrote.

    Everything is drawn from numbers that the page draws too, see ``rng``: a seed gives the same music in both, as far
    as their arithmetic agrees on what lies near a boundary.

    Args:
        folder: its files.
    """

    folder: Folder

    @classmethod
    def load(cls, folder: str | Path, threads: int = 1) -> "OnnxPlayer":
        """The player of a folder.

        Raises:
            HypermeterError: the folder cannot be read, or the model has tracks beside the drums.
        """
        player = cls(Folder.read(folder, threads))
        if player.meta["tracks"]:
            names = ", ".join(each["name"] for each in player.meta["tracks"])
            raise HypermeterError(
                f"{folder}: a model with tracks ({names}), expected drums alone; play it with PyTorch"
            )
        _ = player.step_session
        return player

    @property
    def meta(self) -> dict[str, Any]:
        return self.folder.meta

    @property
    def grid(self) -> Grid:
        return self.folder.grid

    @property
    def num_drums(self) -> int:
        return self.meta["num_drums"]

    @property
    def labels(self) -> dict[str, list[str]] | None:
        """The vocabulary for ``make_plan_arrays``; None for a model that takes no plans."""
        return self.meta["labels"]

    @property
    def has_expression(self) -> bool:
        return self.meta["expression"] is not None

    @cached_property
    def step_session(self) -> ort.InferenceSession:
        return self.folder.step_session()

    @cached_property
    def expression_session(self) -> ort.InferenceSession:
        return self.folder.session("expression.onnx")

    @cached_property
    def _outputs(self) -> list[str]:
        return [each.name for each in self.step_session.get_outputs()]

    def run_step(self, feeds: dict[str, np.ndarray]) -> dict[str, Any]:
        """One call of the step graph."""
        return dict(zip(self._outputs, self.step_session.run(self._outputs, feeds), strict=True))

    def embed(self, plan: PlanArrays, rows: int = 1) -> NDArray[np.float32]:
        """A plan as the step graph is asked it, (rows, bars, plan_dim), with bars after its last until nothing is new.

        Raises:
            HypermeterError: a model without labels, another number of rows, or a label outside the vocabulary.
        """
        if self.labels is None:
            raise HypermeterError(f"{self.folder.path}: a plan, but this model was made without labels; leave it out")
        labels, numbers = np.asarray(plan[0], np.int64), np.asarray(plan[1], np.float32)
        found = f"labels {labels.shape}, numbers {numbers.shape}"
        if labels.ndim != 3 or labels.shape[2] != len(self.meta["kinds"]) or labels.shape[:2] != numbers.shape[:2]:
            raise HypermeterError(f"plan: {found}, expected both (rows, bars, 3)")
        if len(labels) not in (1, rows) or not labels.shape[1]:
            raise HypermeterError(f"plan: {found}, expected 1 or {rows} rows and at least 1 bar")
        sizes = [len(self.labels[kind]) for kind in self.meta["kinds"]]
        if not ((labels >= 0) & (labels <= sizes)).all():
            most = ", ".join(f"{size} for {kind}" for size, kind in zip(sizes, self.meta["kinds"], strict=True))
            raise HypermeterError(f"plan: a label outside the vocabulary, expected 0 to {most}")
        asked = np.asarray(self._plan_session.run(["asked"], {"labels": labels, "numbers": numbers})[0])
        return np.broadcast_to(asked, (rows, *asked.shape[1:]))

    @cached_property
    def _plan_session(self) -> ort.InferenceSession:
        return self.folder.session("plan.onnx")

    # ------------------------------------------------------------------ hearing

    def begin(self, rows: int, primer: ArrayLike | None = None, plan: PlanArrays | None = None) -> Playing:
        """Pieces that have heard the primer, (steps, voices) or (rows, steps, voices).

        Raises:
            HypermeterError: a primer or plan that does not fit.
        """
        playing = Playing(self, rows, None if plan is None else self.embed(plan, rows))
        if primer is not None:
            for x in self.rows_of(primer, rows).swapaxes(0, 1):
                playing.hear(x)
        return playing

    def rows_of(self, primer: ArrayLike, rows: int) -> Hits:
        """The primer of each row, (rows, steps, voices)."""
        hits = np.asarray(primer)
        hits = hits[None] if hits.ndim == 2 else hits
        if hits.ndim != 3 or hits.shape[2] != self.num_drums or len(hits) not in (1, rows):
            found = np.shape(primer)
            raise HypermeterError(
                f"primer of shape {found}, expected (steps, {self.num_drums} voices), or one for each of {rows} pieces"
            )
        if not ((hits == 0) | (hits == 1)).all():
            raise HypermeterError("primer: a cell that is neither 0 nor 1; give hits")
        return np.broadcast_to(hits.astype(np.uint8), (rows, *hits.shape[1:]))

    def log_prob(self, hits: ArrayLike, plan: PlanArrays | None = None) -> NDArray[np.float64]:
        """log p of each step given all before it, in nats.

        Args:
            hits: (T, V) or (B, T, V).
            plan: of one row, or as many.

        Returns:
            (T,) or (B, T).
        """
        rows = np.shape(hits)[0] if np.ndim(hits) == 3 else 1
        played = self.rows_of(hits, rows)
        playing = self.begin(rows, plan=plan)
        found = np.zeros(played.shape[:2])
        for step in range(played.shape[1]):
            found[:, step] = playing.dist.log_prob(played[:, step])
            if step + 1 < played.shape[1]:
                playing.hear(played[:, step])
        return found if np.ndim(hits) == 3 else found[0]

    # ------------------------------------------------------------------ playing

    def rules(
        self,
        temperature: float = 1.0,
        top_p: float = 1.0,
        voice_bias: ArrayLike | None = None,
        plan: PlanArrays | None = None,
        guidance: float = 1.0,
    ) -> Rules:
        """How steps are drawn, checked against the model; guidance counts where there is a plan."""
        bias = None if voice_bias is None else np.asarray(voice_bias, np.float64)
        rules = Rules(temperature, top_p, guidance, bias)
        if plan is None:
            rules = replace(rules, guidance=0.0)
        rules.check_voices(self.num_drums)
        return rules

    def stream(
        self,
        primer: ArrayLike | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        voice_bias: ArrayLike | None = None,
        plan: PlanArrays | None = None,
        guidance: float = 1.0,
        locks: tuple[ArrayLike, ArrayLike] | None = None,
        seed: int = 0,
        batch_size: int = 1,
    ) -> Iterator[Hits]:
        """Steps (B, V) without end, each drawn from the model given all before it.

        Args:
            primer: hits, (T0, V) or (B, T0, V); heard, not given back. It should begin on a bar line.
            temperature: of the combinations of voices: 1 as learnt, lower is safer, 0 takes the likeliest.
            top_p: only the likeliest combinations that together hold this probability, in (0, 1].
            voice_bias: (V,), added to each voice's log odds; more than 0 is busier.
            plan: what is asked of each bar, from the first of the primer on; see ``make_plan_arrays``.
            guidance: how much further the plan is followed than the model does by itself; 0 is the model itself.
            locks: which cells are fixed and their values, each (T, V) or (B, T, V), from the first new step on.
            seed: 0 to 2**53 - 1; the same seed gives the same music.
            batch_size: pieces side by side, where the primer does not tell.

        Raises:
            HypermeterError: an argument that does not fit.
        """
        rows = _rows(primer, batch_size)
        rules = self.rules(temperature, top_p, voice_bias, plan, guidance)
        streams = Streams(seed, HITS, rows)
        fixed = None if locks is None else self.locks(*locks, rows)
        playing = self.begin(rows, primer, plan)
        return self._play(playing, rules, streams, fixed)

    def _play(self, playing: Playing, rules: Rules, streams: Streams, fixed: Lock | None) -> Iterator[Hits]:
        step = 0
        while True:
            lock = None
            if fixed is not None and step < fixed[0].shape[1] and fixed[0][:, step].any():
                lock = fixed[0][:, step], fixed[1][:, step]
            uniforms = streams.uniforms(rules.num_uniforms(self.num_drums))
            x = rules.draw(playing.dist, playing.free if rules.guidance else None, uniforms, lock)
            yield x
            playing.hear(x)
            step += 1

    def locks(self, known: ArrayLike, values: ArrayLike, rows: int) -> Lock:
        """Locked cells of each row, both (rows, T, V).

        Raises:
            HypermeterError: shapes that do not fit, a locked cell that is neither 0 nor 1.
        """
        is_known: NDArray[np.bool_] = np.asarray(known, bool)
        fixed: NDArray[np.float64] = np.asarray(values, np.float64)
        if is_known.ndim == 2 and fixed.ndim == 2:
            is_known, fixed = is_known[None], fixed[None]
        fits = is_known.ndim == 3 and is_known.shape == fixed.shape and is_known.shape[2] == self.num_drums
        if not fits or len(is_known) not in (1, rows):
            found = f"known {np.shape(known)}, values {np.shape(values)}"
            raise HypermeterError(
                f"locks: {found}, expected both (steps, {self.num_drums} voices), or {rows} rows of it"
            )
        told = fixed[is_known]
        if not ((told == 0) | (told == 1)).all():
            raise HypermeterError("locks: a locked cell that is neither 0 nor 1; lock hits or silence")
        shape = (rows, *is_known.shape[1:])
        return np.broadcast_to(is_known, shape), np.broadcast_to(fixed, shape)

    def generate(
        self,
        length: int = 256,
        primer: ArrayLike | None = None,
        *,
        on_step: Callable[[int, Hits], None] | None = None,
        **options: Any,
    ) -> Hits:
        """``length`` new steps, (B, length, V).

        Args:
            length: at least 0.
            primer: as in ``stream``; not given back.
            on_step: called with the number of each new step, from 0, and the step (B, V).
            options: of ``stream``.

        Raises:
            HypermeterError: a negative length, or an option that does not fit.
        """
        if length < 0:
            raise HypermeterError(f"length is {length}, expected 0 steps or more")
        steps = self.stream(primer, **options)
        made = []
        for number in range(length):
            made.append(next(steps))
            if on_step is not None:
                on_step(number, made[-1])
        if not made:
            rows = _rows(primer, options.get("batch_size", 1))
            return np.zeros((rows, 0, self.num_drums), np.uint8)
        return np.stack(made, 1)

    def infill(self, known: ArrayLike, values: ArrayLike, **options: Any) -> Infilled:
        """Music around locked cells, also later ones: see ``infill.infill``."""
        return infill(self, known, values, **options)

    def vary(self, hits: ArrayLike, strength: float, **options: Any) -> NDArray[np.uint8]:
        """The groove played a little or quite differently: see ``infill.vary``."""
        return vary(self, hits, strength, **options)

    def perform(
        self, hits: ArrayLike, tempo_bpm: float, **options: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Velocity and offset of each hit: see ``expression.perform``."""
        return perform(self, hits, tempo_bpm, **options)


def _rows(primer: ArrayLike | None, batch_size: int) -> int:
    """Pieces side by side: as many as there are primers."""
    return batch_size if primer is None or np.ndim(primer) != 3 else len(np.asarray(primer))

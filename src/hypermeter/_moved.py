"""Import paths of earlier versions: a module that moved is found under its old name, and each use warns of the move."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module, util
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from hypermeter.core.extras import needs

MOVED: dict[str, tuple[str, ...]] = {
    "grid": ("core.grid", "core.groove", "core.errors", "core.files", "core.limits"),
    "kit": ("core.kit",),
    "limits": ("core.limits",),
    "tracks": ("core.tracks",),
    "midi": ("io.midi",),
    "midi.events": ("io.midi.replay", "io.midi.events"),
    "notation": ("io.notation",),
    "render": ("share.pictures", "io.ascii"),
    "sound": ("share.sound",),
    "sound.render": ("share.sound.render", "share.commands"),
    "display": ("share.display",),
    "download": ("learn.download",),
    "duplicates": ("music.duplicates",),
    "prepare": ("learn.prepare",),
    "prepare.crew": ("learn.prepare.run",),
    "metrics": ("music.metrics",),
    "compare": ("music.compare",),
    "segment": ("music.segment",),
    "plan": ("model.plan", "play.steering"),
    "plan_arrays": ("play.plan",),
    "dataset": ("learn.dataset", "io.npz"),
    "dataset.archive": ("io.npz", "io.performances"),
    "dataset.windows": ("learn.dataset.windows", "learn.dataset.loader"),
    "encoders": ("model.encoders",),
    "heads": ("model.heads", "play.distribution"),
    "heads.combinations": ("model.heads.combinations",),
    "heads.draw": ("model.heads.mixture",),
    "heads.mixture": ("model.heads.mixture", "play.distribution"),
    "heads.softmax": ("model.heads.softmax",),
    "losses": ("model.losses",),
    "expression": ("model.expression", "play.expressing", "model.logistics", "play.bins"),
    "perform": ("play.expressing",),
    "generate": ("model.playing", "play.locks", "play.player", "play.state"),
    "infill": ("play.infill", "play.locks"),
    "checkpoint": ("io.checkpoint",),
    "state": ("model.state",),
    "levels": ("model.levels",),
    "inspection": ("share.inspection", "share.commands", "io.grooves"),
    "report": ("share.report",),
    "analyse": ("share.analyse", "share.commands", "io.grooves"),
    "evaluate": ("learn.evaluate",),
    "evaluate.card": ("learn.evaluate.card", "learn.evaluate.command"),
    "train": ("learn.train",),
    "train.module": ("learn.train.module", "learn.train.optimizer"),
    "train.command": ("learn.train.command", "learn.train.midi"),
    "rl": ("learn.rl",),
    "rl.policy_gradient": ("learn.rl.policy_gradient", "learn.rl.rollout", "learn.rl.rewards"),
    "rl.q_learning": ("learn.rl.psi_learning",),
    "rl.reinforce": ("learn.rl.reinforce", "learn.rl.command"),
    "rl.rewards": ("learn.rl.rewards", "learn.rl.reward_files"),
    "humanize": ("play.humanize", "cli.humanize"),
    "asked": ("cli.options", "play.compose"),
    "compose": ("play.compose", "cli.generate"),
    "compose.command": ("cli.generate", "play.compose"),
    "compose.grooves": ("play.compose",),
    "runtime": ("play.infill", "play.exported"),
    "runtime.expression": ("play.expressing", "play.bins"),
    "runtime.folder": ("play.exported",),
    "runtime.infill": ("play.infill",),
    "runtime.mixture": ("play.distribution", "play.rules", "play.arithmetic"),
    "runtime.plan": ("play.plan",),
    "runtime.player": ("play.player", "play.state", "play.loading"),
    "runtime.playing": ("play.player",),
    "runtime.rng": ("play.random", "core.limits"),
    "export": ("share.export",),
    "export.recurrent": ("share.export",),
    "export.whole": ("share.export",),
    "serve": ("share.serve",),
    "live": ("share.live", "play.state"),
    "live.asking": ("share.live.conditions",),
    "live.command": ("cli.play", "share.live"),
    "live.drawing": ("share.live.sampler", "play.state"),
    "demo": ("cli.demo",),
}
"""Module of an earlier version, below the package -> the modules that define its names now, in order of search.

A submodule of one of these is looked for below the first of its modules.
"""

RENAMED: dict[str, str] = {
    "plan.fitting_plan": "model.plan.check_plan",
    "humanize.LATEST": "core.strokes.LATEST_OFFSET",
    "compose.grooves.after": "play.compose.join_grooves",
    "generate.rows_of": "play.player.batch_size_of",
    "infill.Infilled": "play.infill.InfillResult",
    "live.Moment": "play.state.PlayerState",
    "live.Part": "play.state.Passage",
    "live.drawing.Moment": "play.state.PlayerState",
    "live.drawing.Part": "play.state.Passage",
    "runtime.Infilled": "play.infill.InfillResult",
    "runtime.infill.Infilled": "play.infill.InfillResult",
    "encoders.BEGIN_SMALL": "model.encoders.INIT_SCALE",
    "encoders.Recalled": "model.encoders.AttentionOutput",
    "generate.Streaming": "model.playing.StreamingModel",
    "asked.Asked": "cli.options.PlanArguments",
    "asked.NOTHING_ASKED": "cli.options.DEFAULT_PLAN",
    "compose.Kept": "cli.options.LockArguments",
    "compose.NOTHING_KEPT": "cli.options.DEFAULT_LOCKS",
    "export.export_command": "cli.export.export_command",
    "export.command.export_command": "cli.export.export_command",
    "compose.command.Kept": "cli.options.LockArguments",
    "compose.command.NOTHING_KEPT": "cli.options.DEFAULT_LOCKS",
    "live.Asking": "share.live.LiveConditions",
    "live.Drawer": "share.live.Sampler",
    "live.Settings": "share.live.LiveSettings",
    "live.asking.Asking": "share.live.conditions.LiveConditions",
    "live.asking.Settings": "share.live.conditions.LiveSettings",
    "live.drawing.Drawer": "share.live.sampler.Sampler",
    "live.engine.Draws": "share.live.engine.PassageSampler",
    "live.drawing.MOST_ROWS": "share.live.sampler.MAX_ROWS",
    "live.engine.ALL_NOTES_OFF": "share.live.output.ALL_NOTES_OFF",
    "live.engine.EARLIEST": "share.live.engine.MAX_EARLY_STEPS",
    "live.engine.KEPT_MOMENTS": "share.live.sequence.KEPT_STATES",
    "live.engine.NO_BAR": "share.live.parts.NO_BAR",
    "live.engine.SHOWN": "share.live.asking.STATUS_SETTINGS",
    "live.ports.FileSink": "share.live.recording.FileSink",
    "live.ports.HOW_TO_MAKE_ONE": "share.live.ports.PORT_HELP",
    "live.ports.listen_to_osc": "share.live.osc.open_osc_server",
    "live.position.MOST_STRAYS": "share.live.position.MAX_OUTLIERS",
    "live.position.OFF_BY_TICKS": "share.live.position.MAX_DEVIATION_TICKS",
    "live.position.QUICKEST_TICK_S": "share.live.position.MIN_TICK_S",
    "live.position.SLOWEST_TICK_S": "share.live.position.MAX_TICK_S",
    "live.parts.Job": "share.live.parts.SamplingJob",
    "live.parts.Unit": "share.live.parts.SampledPassage",
    "live.process.Handle": "share.live.process.StateHandle",
    "live.process.ProcessDrawer": "share.live.process.SamplerProcess",
    "live.parts.swung": "core.swing.apply_swing",
    "display.MOST_BARS_SHOWN": "share.display.MAX_BARS_SHOWN",
    "display.MOST_SECONDS_PLAYED": "share.display.MAX_SECONDS_PLAYED",
    "duplicates.MOST_COMPARED": "music.duplicates.MAX_COMPARED",
    "limits.LEAST_TEMPERATURE": "core.limits.MIN_TEMPERATURE",
    "limits.MOST_BIAS": "core.limits.MAX_BIAS",
    "limits.MOST_ENUMERATED_VOICES": "core.limits.MAX_ENUMERATED_VOICES",
    "limits.MOST_GUIDANCE": "core.limits.MAX_GUIDANCE",
    "metrics.timing.LEAST_DEVIATION": "music.metrics.timing.MIN_DEVIATION",
    "plan_arrays.MOST_BARS": "play.plan.MAX_BARS",
    "render.MOST_BARS": "share.pictures.MAX_BARS",
    "runtime.rng.MOST_ROWS": "play.random.MAX_ROWS",
    "runtime.rng.MOST_SEED": "core.limits.MAX_SEED",
    "segment.LEAST_PHRASES": "music.segment.MIN_PHRASES",
    "serve.app.LEFT": "share.serve.errors.LEFT",
    "serve.guard.one_line": "core.printed.printable",
    "serve.messages.MOST_STEPS": "share.serve.messages.MAX_STEPS",
    "plan_arrays.PlanArrays": "play.plan.Plan",
    "plan_arrays.make_plan_arrays": "play.plan.make_plan",
    "serve.playing.filled": "share.serve.playing.infill_request",
    "serve.playing.varied": "share.serve.playing.vary_request",
    "runtime.PlanArrays": "play.plan.Plan",
    "runtime.make_plan_arrays": "play.plan.make_plan",
    "runtime.measured_plan": "play.plan.plan_of",
    "runtime.plan.measured_plan": "play.plan.plan_of",
    "checkpoint.reading": "io.checkpoint.checkpoint_errors",
    "dataset.common_kit_and_grid": "io.npz.read_shared_kit_and_grid",
    "dataset.archive.are_alike": "io.npz.have_equal_steps",
    "dataset.archive.common_kit_and_grid": "io.npz.read_shared_kit_and_grid",
    "duplicates.together": "music.duplicates.group_near_duplicates",
    "inspection.numbered_kit": "io.grooves.make_numbered_kit",
    "metrics.report.METRICS": "music.metrics.METRICS",
    "midi.bars.Stretch": "io.midi.bars.Span",
    "midi.bars.change": "io.midi.bars.describe_change",
    "midi.bars.stretches_of": "io.midi.bars.find_spans",
    "midi.events.Play": "io.midi.replay.Retime",
    "notation.mini.place_of": "io.notation.mini.describe_place",
    "notation.names.ALSO": "io.notation.names.ALIASES",
    "notation.names.INSTEAD": "io.notation.names.SUBSTITUTES",
    "notation.names.OTHER": "io.notation.names.DEFAULT_SAMPLE",
    "notation.pattern.together": "io.notation.pattern.stack",
    "prepare.convert.Job": "learn.prepare.convert.ConversionSettings",
    "prepare.convert.Outcome": "learn.prepare.convert.ConvertedFile",
    "prepare.crew.FILES_FOR_POOL": "learn.prepare.run.MIN_FILES_FOR_POOL",
    "prepare.manifest.earlier_records": "learn.prepare.plan.earlier_records",
    "prepare.manifest.totals": "learn.prepare.totals.Totals",
    "prepare.source.File": "learn.prepare.source.SourceFile",
    "prepare.source.SHARES": "learn.prepare.splits.SPLIT_SHARES",
    "prepare.source.assign_splits": "learn.prepare.splits.assign_splits",
    "prepare.source.find_files": "learn.prepare.source.list_files",
    "rl.config.ELSEWHERE": "learn.rl.config.NOT_COMPARED",
    "rl.divergence.POSITIONS_AT_ONCE": "learn.rl.divergence.STEPS_PER_CHUNK",
    "rl.env.FOLLOWED": "learn.rl.env.PLAN_TERMS",
    "rl.learners.MOST_CHANGE": "learn.rl.learners.MAX_KL_WEIGHT_CHANGE",
    "rl.learners.ValueLearner": "learn.rl.psi_learning.PsiLearner",
    "rl.learners.adapted": "learn.rl.learners.adapt_kl_weight",
    "rl.learners.judged": "learn.rl.learners.describe_rollout",
    "rl.learners.look": "learn.rl.learners.evaluate_policy",
    "rl.q_learning.FIRST_UPDATES": "learn.rl.psi_learning.VALUE_UPDATES",
    "rl.q_learning.MOST_GRADIENT": "learn.rl.learners.GRADIENT_CLIP",
    "rl.q_learning.QLearner": "learn.rl.psi_learning.PsiLearner",
    "rl.q_learning.QNetwork": "learn.rl.psi_learning.PsiNetwork",
    "rl.rewards.FORM": "learn.rl.reward_files.EXAMPLE",
    "rl.rewards.LEVELS": "learn.rl.rewards.LEVEL_SIZES",
    "rl.rollout.STEPS_AT_ONCE": "learn.rl.rollout.MAX_STEPS_PER_PASS",
}
"""Name of an earlier version -> its new name."""

GONE: dict[str, str] = {
    "midi.content.load_score": "io.midi.content.load_midi gives the drums, melodies, tempos and metres of a file",
    "train.config.SHARES": "learn.train.TrainConfig checks its options",
    "analyse.MOST_PICTURES": "an option of share.commands.analyse_command",
    "asked.GUIDANCE": "play.request.SamplingOptions has the default",
    "asked.Planner": "play.plan.plan_bars; cli.options.PlanArguments.of_bars for what stands in texts and files",
    "cli.EXTRAS": "core.extras.EXTRAS",
    "export.command.forward_graph": "forward.onnx, which nothing played, is not written any more",
    "export.recurrent.Sequence": "forward.onnx, which nothing played, is not written any more",
    "export.recurrent.cell_step": "the exporter takes the model's own step",
    "export.recurrent.translations": "forward.onnx, which nothing played, is not written any more",
    "export.whole.ForwardGraph": "forward.onnx, which nothing played, is not written any more",
    "export.whole.WindowedTransformer": "forward.onnx, which nothing played, is not written any more",
    "humanize.LATEST": "core.strokes.LATEST_OFFSET",
    "expression.ALL_BINS": "play.expressing.VELOCITY and OFFSET",
    "expression.LEVELS": "play.expressing.VELOCITY.count",
    "expression.OFFSET_BINS": "play.expressing.OFFSET.count",
    "expression.num_draws": "play.expressing.ExpressionSampler takes its numbers by itself",
    "generate.Guided": "play.rules applies guidance, an option of play.request.SamplingOptions",
    "generate.GuidedDistribution": "play.rules.guided",
    "generate.GuidedState": "a state under a plan has both distributions, see play.network.State",
    "live.asking.Converter": "the values of a control are checked by play.request.check",
    "live.asking.LEAST_TEMPO_BPM": "play.request.BOUNDS has it",
    "live.asking.MOST_SWING": "play.request.BOUNDS has it",
    "live.asking.MOST_TEMPERATURE": "play.request.BOUNDS has it",
    "live.asking.MOST_TEMPO_BPM": "play.request.BOUNDS has it",
    "live.asking.check_tempo": "play.request.check",
    "limits.MOST_TEMPERATURE": "play.request.BOUNDS has the bounds of temperature",
    "live.ports.input_names": 'share.live.ports.port_names("input")',
    "live.ports.output_names": 'share.live.ports.port_names("output")',
    "generate.listen": "play.player.Player.consume; of a model in PyTorch, its advance for each step",
    "generate.begin": "play.player.Player.start",
    "generate.stream": "play.player.Player.stream",
    "heads.choose": "model.heads.index_of takes a number in [0, 1), not a generator",
    "heads.choose_tempered": "play.rules.Rules",
    "heads.sample_tempered": "play.rules.Rules",
    "heads.draw.Drawable": "play.rules.Rules draws from a play.distribution.Distribution",
    "heads.draw.LEAST_CHANCE": "voices that cannot sound are silent in play.distribution",
    "heads.draw.choose": "model.heads.index_of takes a number in [0, 1), not a generator",
    "heads.draw.choose_tempered": "play.rules.Rules",
    "heads.draw.draw_hits": "the draw of a distribution in model.heads",
    "heads.draw.sample_tempered": "play.rules.Rules",
    "heads.mixture.log_norm_of_track": "model.heads.log_norm",
    "infill.check_counts": "play.request.InfillOptions checks its numbers",
    "perform.BEFORE_BARS": "the engine reads a piece from its start, step by step",
    "perform.PIECE_BARS": "the engine reads a piece from its start, step by step",
    "perform.check_temperature": "play.request.check",
    "perform.features_of": "Prediction.features of the model",
    "perform.perform": "play.player.Player.perform",
    "prepare.convert.run_batch": "learn.prepare.tasks.convert_task does a task of files",
    "prepare.crew.Crew": "learn.engines.LocalEngine runs tasks in processes",
    "prepare.crew.FILES_PER_TASK": "learn.prepare.plan.make_plan chooses the files of a task",
    "prepare.manifest.clear": "learn.prepare.run.run_plan removes what earlier runs wrote",
    "prepare.manifest.one_record_a_line": "learn.prepare.manifest.write_manifest writes a record a line",
    "rl.action_values.KINDS_OF_VALUES": "psi-learning is the one kind",
    "rl.action_values.Kind": "psi-learning is the one kind",
    "rl.config.ABOVE": "the ranges stand in ReinforceConfig",
    "rl.config.AMOUNTS": "the ranges stand in ReinforceConfig",
    "rl.config.COUNTS": "the ranges stand in ReinforceConfig",
    "rl.config.SHARES": "the ranges stand in ReinforceConfig",
    "rl.q_learning.Begin": "learn.rl.rollout.rollout takes primers and plans",
    "rl.q_learning.Played": "learn.rl.rollout.Rollout",
    "rl.q_learning.QOptions": "learn.rl.config.ReinforceConfig, and keywords of learn.rl.psi_learning.PsiLearner",
    "rl.q_learning.most": "Q-learning is gone; psi-learning needs no maximum",
    "rl.q_learning.q_learning": "learn.rl.reinforce.reinforce with algorithm='psi'",
    "runtime.Expressing": "play.player.Player.perform",
    "runtime.OnnxPlayer": "play.loading.load_player plays an exported folder, too",
    "runtime.Playing": "play.player.Player.stream",
    "runtime.Streams": "play.random.RandomStream: numbers by counter, not by state",
    "runtime.expression.Expressing": "play.player.Player.perform",
    "runtime.expression.perform": "play.player.Player.perform",
    "runtime.folder.GRID": "a detail of reading an exported folder, play.exported",
    "runtime.folder.TOLD": "a detail of reading an exported folder, play.exported",
    "runtime.folder.zeros": "a detail of reading an exported folder, play.exported",
    "runtime.player.OnnxPlayer": "play.loading.load_player plays an exported folder, too",
    "runtime.playing.Playing": "play.player.Player.stream",
    "runtime.rng.Streams": "play.random.RandomStream: numbers by counter, not by state",
    "sound.font.font_wav_bytes": "share.sound.font.font_samples returns the samples, which may exceed full scale",
    "sound.drums.CHECK_PLACES": "a detail of the tests",
    "sound.drums.CHECK_VELOCITY": "a detail of the tests",
    "sound.drums.check_values": "a detail of the tests",
    "serve.command.SHIPPED": "a detail of the command",
    "serve.messages.Curve": "play.request.BOUNDS",
    "serve.messages.Number": "play.request.BOUNDS",
    "serve.messages.Share": "play.request.BOUNDS",
    "serve.messages.Tempo": "play.request.BOUNDS",
    "serve.messages.to_plan": "play.request.PlanOptions",
    "serve.playing.Watched": "play.player.Player takes a function that is called before each step",
    "serve.playing.joined": "play.compose joins grooves",
    "serve.playing.played_bars": "play.player.Player.stream",
}
"""Name of an earlier version that was removed -> what to use instead, or why it was removed."""


class _Alias(ModuleType):
    """A module under its old name, which takes each name from the modules that define it now."""

    def __init__(self, name: str, homes: Sequence[str]):
        super().__init__(name, f"Moved to {', '.join(homes)}.")
        self.__path__: list[str] = []
        self._homes = tuple(homes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # "from module import name" asks twice: first the import system whether there is such a name, then the importer.
        is_importer = sys._getframe(1).f_code.co_name != "_handle_fromlist"
        old = f"{self.__name__.partition('.')[2]}.{name}"
        if old in GONE:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}; {GONE[old]}")
        if old in RENAMED:
            home, _, new_name = f"{__package__}.{RENAMED[old]}".rpartition(".")
            homes = [home]
        else:
            homes, new_name = self._homes, name
        for home in homes:
            if hasattr(module := self._import(home), new_name):
                if is_importer:
                    message = f"{self.__name__}.{name} moved to {home}.{new_name}"
                    warnings.warn(message, DeprecationWarning, stacklevel=2)
                return getattr(module, new_name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}; it moved to {self._homes[0]}")

    def _import(self, home: str) -> ModuleType:
        extra = {"share": "onnx", "learn": "train"}.get(home.split(".")[1], "torch")
        with needs(self.__name__, of_torch=extra):
            return import_module(home)


class _Finder:
    """Find the modules of MOVED and their submodules."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, old = fullname.partition(".")
        if package != __package__ or old.partition(".")[0] not in MOVED:
            return None
        if old in GONE:  # "from module import name" looks for a module of that name when the module has no such name
            module, _, name = fullname.rpartition(".")
            raise ImportError(f"cannot import name {name!r} from {module!r}; {GONE[old]}", name=module)
        homes = MOVED.get(old) or self._home_of_submodule(old)
        if not homes:
            return None
        homes = [f"{package}.{home}" for home in homes]
        loader: Any = self  # no subclass of importlib.abc.Loader, whose import takes longer than that of the package
        return ModuleSpec(fullname, loader, loader_state=homes, is_package=True)

    def _home_of_submodule(self, old: str) -> tuple[str, ...]:
        """Return the home of a submodule of one of MOVED; an empty tuple where there is no such module."""
        parent, _, last = old.rpartition(".")
        home = f"{MOVED[parent][0]}.{last}" if parent in MOVED else ""
        try:
            return (home,) if home and util.find_spec(f"{__package__}.{home}") else ()
        except ModuleNotFoundError:  # the parent is no longer a package
            return ()

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Alias(spec.name, spec.loader_state)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Make the modules of earlier versions importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())

"""What is exported, as modules over plain tensors: one step of a model, its plan, its expression, and whole sequences.

They are made of the model's own parts. What differs is told at each: recurrent cells are linear maps, the end of a bar
is computed at every step and taken where there is one, and the memory of the bar attention is kept by the player, who
gives one of its columns and is given one new row.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.model.encoders import Recalled, RecurrentEncoder, TransformerEncoder
from hypermeter.model.expression import Expression, ExpressionState
from hypermeter.model.heads import Mixture
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.plan import FADES, KINDS, KNOTS, NUMBERS, SETTLED, PlanEmbedding
from hypermeter.share.export.recurrent import cell_step

State = dict[str, Tensor]
"""Name of a state tensor, as in the graph but without ``state_``, -> value."""


class StepGraph(nn.Module):
    """One streaming step: hear what was just played, give the distribution of what comes next.

    A state of zeros with position -1 has heard nothing: what is then given as played is not heard, and the
    distribution is that of the first step.
    """

    def __init__(self, model: HierarchicalDrumModel):
        super().__init__()
        self.model = model

    def init_state(self, batch_size: int) -> State:
        """The state in which nothing was heard."""
        model = self.model

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(batch_size, *shape)

        bar_dim, phrase_dim = model.config["bar_hidden_dim"], model.config["phrase_hidden_dim"]
        state = {
            "position": torch.full((batch_size,), -1, dtype=torch.long),
            "hidden": zeros(model.config["step_hidden_dim"]),
            **_named("step", _tensors(model.step_rnn, batch_size)),
            **_named("bar", _tensors(model.bar_rnn, batch_size)),
            **_named("phrase", _tensors(model.phrase_rnn, batch_size)),
            "bar_output": zeros(bar_dim),
            "phrase_output": zeros(phrase_dim),
            "bar_states": zeros(model.config["step_hidden_dim"]),
            "bar_hits": zeros(model.width),
            "phrase_states": zeros(bar_dim),
            "phrase_hits": zeros(model.width),
        }
        if model.past:
            state["history"] = zeros(model.past, model.width)
        return state

    def memory_size(self) -> int:
        """Elements of a row of the bar attention's memory, 0 where the model has none."""
        attention = self.model.bar_attention
        return 0 if attention is None else attention.value.in_features + attention.key.out_features

    def forward(
        self,
        x: Float[Tensor, "B W"],
        asked: Float[Tensor, "B plan_dim"] | None,
        memory: Float[Tensor, "B window size"] | None,
        state: State,
    ) -> dict[str, Tensor]:
        """The step.

        Args:
            x: what was played at the state's position.
            asked: of the bar in which the next step stands; zeros ask nothing. None for a model without labels.
            memory: what was remembered at the next step's place of the bar: row r of the bar whose number is r modulo
                the window. None for a model without bar attention.
            state: before x.

        Returns:
            ``log_weights``, ``logits``, the same with ``free_`` before them where there is ``asked``, ``features``,
            ``remembered`` where there is ``memory``, and ``next_`` of each state tensor.
        """
        model, grid = self.model, self.model.grid
        position = state["position"]
        is_begun = (position >= 0)[:, None]
        x = torch.where(is_begun, x, 0.0)
        outputs: dict[str, Tensor] = {}
        if model.bar_attention is not None:
            outputs["remembered"] = model.bar_attention._remember(state["hidden"], x)
        position = position + 1
        after: State = {"position": position}
        history = x[:, None, :0]
        if model.past:
            after["history"] = history = torch.cat([state["history"], x[:, None]], 1)[:, 1:]
        heard = model._step_input(x, model._earlier(history), position)
        hidden, step = _step(model.step_rnn, heard, _of("step", state), position)
        after |= {"hidden": hidden, **_named("step", step)}

        bar_states = state["bar_states"] + torch.where(is_begun, hidden, 0.0)
        bar_hits, phrase_hits = state["bar_hits"] + x, state["phrase_hits"] + x
        ends_bar = is_begun & (position % grid.steps_per_bar == 0)[:, None]
        ends_phrase = is_begun & (position % grid.steps_per_phrase == 0)[:, None]
        gathered = model.step_to_bar(torch.cat([bar_states, bar_hits], -1) / grid.steps_per_bar)
        number = (position // grid.steps_per_bar - 1).clamp_min(0)
        said, bar = _step(model.bar_rnn, gathered, _of("bar", state), number)
        phrase_states = state["phrase_states"] + torch.where(ends_bar, said, 0.0)
        after["bar_output"] = torch.where(ends_bar, said, state["bar_output"])
        after |= _named("bar", _chosen(ends_bar, bar, _of("bar", state)))
        shares = torch.cat([phrase_states / grid.bars_per_phrase, phrase_hits / grid.steps_per_phrase], -1)
        number = (position // grid.steps_per_phrase - 1).clamp_min(0)
        said, phrase = _step(model.phrase_rnn, model.bar_to_phrase(shares), _of("phrase", state), number)
        after["phrase_output"] = torch.where(ends_phrase, said, state["phrase_output"])
        after |= _named("phrase", _chosen(ends_phrase, phrase, _of("phrase", state)))
        after["bar_states"] = torch.where(ends_bar, 0.0, bar_states)
        after["bar_hits"] = bar_hits = torch.where(ends_bar, 0.0, bar_hits)
        after["phrase_states"] = torch.where(ends_phrase, 0.0, phrase_states)
        after["phrase_hits"] = torch.where(ends_phrase, 0.0, phrase_hits)

        recalled = None
        if model.bar_attention is not None:
            assert memory is not None
            attention, bar_number = model.bar_attention, (position // grid.steps_per_bar)[:, None]
            distance = (bar_number - 1 - torch.arange(attention.window)) % attention.window + 1
            bias = attention._bias(distance, distance <= bar_number).transpose(0, 1)[:, :, None]
            recalled = Recalled(*(each[:, 0] for each in attention._attend(hidden[:, None], memory, bias)))
        total = hidden
        for hear, said in ((model.hear_bar, after["bar_output"]), (model.hear_phrase, after["phrase_output"])):
            if hear is not None:
                total = total + hear(said)
        outputs["features"] = features = model._features(total, recalled, position)
        free = model._distribution(features, recalled, position)
        assert isinstance(free, Mixture)
        if asked is None:
            outputs |= {"log_weights": free.log_weights, "logits": free.logits}
        else:
            dist = model._distribution(features, recalled, position, bar_hits, asked)
            assert isinstance(dist, Mixture)
            outputs |= {"log_weights": dist.log_weights, "logits": dist.logits}
            outputs |= {"free_log_weights": free.log_weights, "free_logits": free.logits}
        return outputs | {f"next_{name}": after[name] for name in state}


class PlanGraph(nn.Module):
    """A plan's bars and SETTLED more, embedded: ``PlanEmbedding.forward`` over tensors, for any rows and bars.

    It says the same in other words, as there ``len`` and ``cummax`` cannot be exported; a test holds them together.
    """

    def __init__(self, embedding: PlanEmbedding):
        super().__init__()
        self.embedding = embedding

    def forward(self, labels: Int[Tensor, "B bars kinds"], numbers: Float[Tensor, "B bars numbers"]) -> Tensor:
        own = self.embedding
        labels, numbers = (torch.cat([each, each[:, -1:].expand(-1, SETTLED, -1)], 1) for each in (labels, numbers))
        known = ~numbers.isnan()
        tempo, density, offbeat = torch.where(known, numbers, 0.0).unbind(-1)
        wanted = density * own.num_drums
        places = torch.stack([((tempo.clamp_min(1e-9) / 120).log2() + 1.5) / 3, wanted / 4, offbeat], -1)
        places = places.clamp(0, 1)[..., None] * (KNOTS - 1)
        shares = (1 - (places - torch.arange(KNOTS)).abs()).clamp_min(0)
        read = torch.cat([shares, torch.ones_like(shares[..., :1])], -1) * known[..., None]
        total = own.numbers(read.flatten(-2))
        for embed, codes in zip(own.embed, labels.unbind(-1), strict=True):
            total = total + embed(codes)
        is_asked = ((known.sum(-1) + labels.sum(-1)) > 0).to(total.dtype)[..., None]
        is_dense = known[..., NUMBERS.index("density")].to(total.dtype)
        beside = torch.stack([wanted * is_dense, is_dense], -1)
        newness = (-_bars_since_change(labels)[..., None] / torch.tensor(FADES)).exp()
        embedded = own.norm(total + own.between(total)) * is_asked
        return torch.cat([embedded, newness * is_asked, beside, is_asked], -1)


def _bars_since_change(labels: Int[Tensor, "B bars kinds"]) -> Float[Tensor, "B bars"]:
    """As in ``plan``: the last change before each bar is the greatest of all before it."""
    told = labels[..., [KINDS.index("section"), KINDS.index("style")]]
    bar = torch.arange(labels.shape[1])
    is_new = (told[:, 1:] != told[:, :-1]).sum(-1) > 0
    changes = torch.cat([torch.zeros_like(bar[None, :1]) + 0 * labels[:, :1, 0], torch.where(is_new, bar[1:], 0)], 1)
    last = torch.where(bar[:, None] >= bar, changes[:, None], 0).amax(-1)
    return (bar - last).float()


class ExpressionGraph(nn.Module):
    """One step of expression: hear how the last step was played, give how the hits of this one may be.

    It begins with a state of zeros, and a last step without hits.
    """

    def __init__(self, expression: Expression):
        super().__init__()
        self.expression = expression

    def forward(
        self,
        features: Float[Tensor, "B hidden"],
        hits: Float[Tensor, "B V"],
        tempo_bpm: Float[Tensor, " B"],
        last_hits: Float[Tensor, "B V"],
        last_velocity: Float[Tensor, "B V"],
        last_offset: Float[Tensor, "B V"],
        state: State,
    ) -> dict[str, Tensor]:
        """The step; arguments as in ``Expression``, and a tempo that is not known is NaN."""
        own = self.expression
        before = ExpressionState(tempo=own._tempo(tempo_bpm, 0), **state)  # 0: read where there is no tempo
        before = own.hear(last_hits, last_velocity, last_offset, before)
        x = own.activation(own._given(features, hits, before.tempo) + own._heard(before.sums, before.places[:, 0]))
        output, (hidden,) = cell_step(own.rnn, x, (before.hidden,))
        after = {"next_hidden": hidden, "next_sums": before.sums, "next_places": before.places}
        return vars(own._distribution(output, x)) | after


# ---------------------------------------------------------------------- states of encoders


def _tensors(encoder: RecurrentEncoder | TransformerEncoder, batch_size: int) -> tuple[Tensor, ...]:
    """The state of an encoder but its position, which the model's own tells."""
    state = encoder.init_state(batch_size)
    return state if isinstance(encoder, RecurrentEncoder) else state[1:]


def _step(
    encoder: RecurrentEncoder | TransformerEncoder, x: Tensor, state: tuple[Tensor, ...], number: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """An encoder's step; ``number`` elements were heard before it."""
    if isinstance(encoder, RecurrentEncoder):
        return cell_step(encoder, x, state)
    out, (_, *after) = encoder.step(x, (number, *state))
    return out, tuple(after)


def _named(level: str, tensors: tuple[Tensor, ...]) -> State:
    return {f"{level}_{place}": each for place, each in enumerate(tensors)}


def _of(level: str, state: State) -> tuple[Tensor, ...]:
    """What ``_named`` named."""
    return tuple(each for name, each in state.items() if name.startswith(f"{level}_") and name[-1].isdigit())


def _chosen(mask: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Rows of the new where the mask (B, 1) is true."""
    return tuple(
        torch.where(mask.view(-1, *[1] * (each.dim() - 1)), each, was) for each, was in zip(new, old, strict=True)
    )

"""The sample names that live coders use for the voices of a kit."""

from functools import lru_cache

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import Kit, load_kit

SAMPLES = {
    "bd": ("acoustic_bass_drum", "bass_drum", "kick"),
    "sd": ("acoustic_snare", "electric_snare", "snare"),
    "rim": ("side_stick",),
    "cp": ("hand_clap",),
    "hh": ("closed_hat", "pedal_hat"),
    "oh": ("open_hat",),
    "lt": ("low_tom", "low_floor_tom", "high_floor_tom"),
    "mt": ("mid_tom", "low_mid_tom", "high_mid_tom"),
    "ht": ("high_tom",),
    "cr": ("crash", "crash_1", "crash_2", "chinese_cymbal", "splash"),
    "rd": ("ride", "ride_1", "ride_2", "ride_bell"),
    "sh": ("shaker", "maracas", "cabasa"),
    "cb": ("cowbell",),
    "tb": ("tambourine",),
}
"""Sample -> voices of the shipped kits. The names are those of Strudel, most of which Tidal has too."""

DEFAULT_SAMPLE = "perc"
"""Sample of all other voices."""

ALIASES = {
    "kick": "bd", "sn": "sd", "snare": "sd", "rs": "rim", "rm": "rim", "clap": "cp", "hc": "hh", "ch": "hh",
    "hat": "hh", "ho": "oh", "ride": "rd", "crash": "cr", "cy": "cr", "cc": "cr", "shaker": "sh",
    "cow": "cb", "tom": "lt",
}  # fmt: skip
"""Other name of a sample -> the sample."""

SUBSTITUTES = {
    "rim": ("sd",), "cp": ("sd",), "oh": ("hh",), "lt": ("mt", "ht"), "mt": ("lt", "ht"), "ht": ("mt", "lt"),
    "cr": ("rd",), "rd": ("cr",),
}  # fmt: skip
"""Sample -> samples whose voice plays it if the kit has no voice of its own: a kit of ten plays claps on the snare."""


@lru_cache(maxsize=32)
def samples_of(kit: Kit) -> tuple[str, ...]:
    """Return the sample of each voice. All are different: of several with one name the second has :1, the third :2."""
    base = {voice: sample for sample, voices in SAMPLES.items() for voice in voices}
    gm = load_kit("gm")
    numbers, samples = {}, []
    for name, pitch in zip(kit.names, kit.gm_pitches, strict=True):
        name = name if name in base else gm.names[gm.columns[pitch]]
        sample = base.get(name, DEFAULT_SAMPLE)
        number = numbers[sample] = numbers.get(sample, -1) + 1
        samples.append(f"{sample}:{number}" if number else sample)
    return tuple(samples)


def column_of(word: str, kit: Kit, where: str) -> int:
    """Return the column of the voice that plays a sample.

    The voice is the one with that sample, as of `samples_of`, or with that name; if there is none, the number of the
    sample and the drum machine before it, as in RolandTR909_bd or 808bd, are ignored.

    Raises:
        HypermeterError: no voice of the kit plays the sample.
    """
    samples = samples_of(kit)
    name = word.partition(":")[0].lower()
    if name not in kit.names:
        name = name.rpartition("_")[2].lstrip("0123456789")
    name = ALIASES.get(name, name)
    for sample in (word, name, *SUBSTITUTES.get(name, ())):
        if sample in samples:
            return samples.index(sample)
        if sample in kit.names:
            return kit.names.index(sample)
    raise HypermeterError(f"{where}: no voice of {kit.name} plays {word!r}; it has {', '.join(samples)}")

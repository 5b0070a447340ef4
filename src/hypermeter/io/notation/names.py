"""Voices of a kit by the sample names that live coders write."""

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
    "sh": ("maracas", "cabasa"),
    "cb": ("cowbell",),
    "tb": ("tambourine",),
}
"""Sample -> voices of the shipped kits. Strudel's names, most of which Tidal's samples have too."""

OTHER = "perc"
"""The sample of any other voice."""

ALSO = {
    "kick": "bd", "sn": "sd", "snare": "sd", "rs": "rim", "rm": "rim", "clap": "cp", "hc": "hh", "ch": "hh",
    "hat": "hh", "ho": "oh", "ride": "rd", "crash": "cr", "cy": "cr", "cc": "cr", "shaker": "sh",
    "cow": "cb", "tom": "lt",
}  # fmt: skip
"""Other names that are read."""

INSTEAD = {
    "rim": ("sd",), "cp": ("sd",), "oh": ("hh",), "lt": ("mt", "ht"), "mt": ("lt", "ht"), "ht": ("mt", "lt"),
    "cr": ("rd",), "rd": ("cr",),
}  # fmt: skip
"""Sample -> those whose voice plays it in a kit without its own: a kit of ten voices plays claps on the snare."""


@lru_cache(maxsize=32)
def samples_of(kit: Kit) -> tuple[str, ...]:
    """The sample of each voice, all different: of several with one name the second has :1, the third :2."""
    base = {voice: sample for sample, voices in SAMPLES.items() for voice in voices}
    gm = load_kit("gm")
    names, found = {}, []
    for voice in kit.voices:
        name = voice.name if voice.name in base else gm.names[gm.columns[voice.write]]
        sample = base.get(name, OTHER)
        number = names[sample] = names.get(sample, -1) + 1
        found.append(f"{sample}:{number}" if number else sample)
    return tuple(found)


def column_of(word: str, kit: Kit, where: str) -> int:
    """The column that plays a sample: by ``samples_of``, by the voice's own name, or, without its number, by either.

    The name of a drum machine before it, as in RolandTR909_bd or 808bd, is left out.

    Raises:
        HypermeterError: no voice of the kit plays it.
    """
    samples = samples_of(kit)
    name = word.partition(":")[0].lower()
    if name not in kit.names:
        name = name.rpartition("_")[2].lstrip("0123456789")
    name = ALSO.get(name, name)
    for each in (word, name, *INSTEAD.get(name, ())):
        if each in samples:
            return samples.index(each)
        if each in kit.names:
            return kit.names.index(each)
    raise HypermeterError(f"{where}: no voice of {kit.name} plays {word!r}; it has {', '.join(samples)}")

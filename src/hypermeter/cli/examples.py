"""Example command lines, shown at the top of each command's help."""

EXAMPLES = {
    "download": (
        "hypermeter download groove",
        "hypermeter download groove --out data/groove",
    ),
    "prepare": (
        "hypermeter prepare data/groove npz",
        "hypermeter prepare my_loops.zip npz --kit magenta9",
        "hypermeter prepare songs npz --metre all --steps-per-beat auto",
        "hypermeter prepare s3://bucket/midi s3://bucket/shards --packed --engine ray --address auto",
    ),
    "pack": ("hypermeter pack npz shards",),
    "unpack": ("hypermeter unpack shards npz_again", "hypermeter unpack shards/test/00000.parquet one_shard"),
    "train": (
        "hypermeter train npz runs/first",
        "hypermeter train my_loops.zip runs/mine --init groove",
        "hypermeter train npz runs/quick --max-steps 200",
    ),
    "reinforce": (
        "hypermeter reinforce runs/denser --reward reward.yaml",
        "hypermeter reinforce runs/denser --reward reward.yaml --model runs/mine --algorithm grpo",
    ),
    "generate": (
        "hypermeter generate beat.mid --bars 16",
        "hypermeter generate beat.mid --sections verse:8,fill:1,chorus:8 --density 0.2",
        "hypermeter generate --bars 8 --tempo-bpm 96 --seed 7 -o new.mid",
    ),
    "follow": (
        "hypermeter follow taps.mid",
        "hypermeter follow song.mid drums.mid --program 34 --style funk",
        "hypermeter follow taps.mid --answer all --density 0.2 --seed 3",
    ),
    "morph": (
        "hypermeter morph one.mid two.mid",
        "hypermeter morph one.mid two.mid --steps 7 --join -o way.mid",
    ),
    "play": (
        "hypermeter play --list",
        "hypermeter play virtual --primer beat.mid --osc 9000",
        "hypermeter play fluid --listen keys --answer complement --map board.yaml",
        "hypermeter play session.mid --bars 32 --sections verse:8,fill:1",
    ),
    "humanize": (
        "hypermeter humanize flat.mid human.mid",
        "hypermeter humanize flat.mid human.mid --amount 0.5",
        "hypermeter humanize flat.mid --like take.mid --timing 0.7 --velocity 0.4",
        "hypermeter humanize flat.mid --like drummer-7 --lay-back snare 8ms",
    ),
    "feels": (
        "hypermeter feels",
        "hypermeter feels take.mid",
    ),
    "evaluate": (
        "hypermeter evaluate groove npz/validation",
        "hypermeter evaluate runs/mine npz/validation --beside groove",
    ),
    "inspect": (
        "hypermeter inspect beat.mid",
        "hypermeter inspect npz/train/take_1.npz",
    ),
    "analyse": (
        "hypermeter analyse beat.mid",
        "hypermeter analyse my_folder --against npz --out report",
    ),
    "search": (
        "hypermeter search beat.mid my_folder",
        "hypermeter search beat.mid my_folder --index my_folder.index --most 20",
        "hypermeter search beat.mid --index my_folder.index --by piece",
    ),
    "map": (
        "hypermeter map npz/train -o map.svg",
        "hypermeter map my_folder -o map.html --index my_folder.index",
    ),
    "render": (
        "hypermeter render beat.mid beat.wav",
        "hypermeter render beat.mid loop.wav --loop --rate 48000",
        "hypermeter render beat.mid beat.wav --sound-font drums.sf2",
    ),
    "export": ("hypermeter export folder", "hypermeter export folder --model runs/mine"),
    "serve": (
        "hypermeter serve",
        "hypermeter serve --model runs/mine --port 9000",
    ),
    "demo": ("hypermeter demo", "hypermeter demo my_demo"),
}
"""Command -> command lines. A test parses each of them."""

"""Random valid patterns in mini-notation, and random valid code, of TidalCycles and of Strudel."""

from random import Random

WORDS = ("bd", "sd", "hh", "cp", "bd:2", "hh:1")
NUMBERS = ("0", "1", "2", "3")
GAINS = ("0.5", "1", "0.25", "0.8")
FACTORS = ("2", "3", "4", "1.5", "<2 3>", "[2 4]", "<1 [2 3]>")
RHYTHMS = ("3,8", "5,8", "2,5", "3,8,2", "5,8,3", "3,4", "<3 5>,8", "3,<8 4>", "3,8,<0 2>", "4,7,1", "3,8,-1")


class Notation:
    """Draw patterns.

    Args:
        seed: of the random stream.
        is_strudel: whether they are valid in Strudel; otherwise they are valid in Tidal.
    """

    def __init__(self, seed: int, is_strudel: bool) -> None:
        self.random, self.is_strudel = Random(seed), is_strudel

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def mini(self, words: tuple[str, ...] = WORDS, depth: int = 3) -> str:
        """Return a pattern in mini-notation of the words."""
        if depth == 3 and self.chance(0.1):
            return " . ".join(self.sequence(words, 1) for _ in range(self.random.randint(2, 3)))
        return self.sequence(words, depth)

    def sequence(self, words: tuple[str, ...], depth: int) -> str:
        return " ".join(self.step(words, depth) for _ in range(self.random.randint(1, 4)))

    def step(self, words: tuple[str, ...], depth: int) -> str:
        """Return a term with its modifiers."""
        term = self.term(words, depth)
        if term.endswith("%"):  # What follows belongs to the number in Tidal.
            term += self.random.choice(("3", "4", "<2 3>") if self.is_strudel else ("3", "4", "4*2", "<2 3>", "4!2 3"))
            if not self.is_strudel:
                return f"[{term}]"
        if self.is_strudel:
            modifiers = ["*", "/", "(", "!", "!!", "@", " _"]
            for modifier in self.random.choices(modifiers, k=self.random.choice((0, 0, 0, 1, 1, 2, 3))):
                term += self.modifier(modifier)
            return term
        if self.chance(0.2):
            term += self.modifier(self.random.choice("*/"))
        if self.chance(0.15):
            term += self.modifier("(")
        if self.chance(0.25):
            held = " _" if words == WORDS else "@"  # Tidal takes a number behind _ for a weight.
            term += self.modifier(self.random.choice(("!", "!!", "@", held, " ! ")))
        return term

    def modifier(self, name: str) -> str:
        if name in ("*", "/"):
            return name + self.random.choice(FACTORS)
        if name == "(":
            return f"({self.random.choice((*RHYTHMS, '-3,8') if self.is_strudel else RHYTHMS)})"
        return name + {"!": self.random.choice("23"), "@": self.random.choice(("2", "3", "1.5"))}.get(name, "")

    def term(self, words: tuple[str, ...], depth: int) -> str:
        kind = self.random.random()
        if depth == 0 or kind < 0.55:
            return self.random.choice(words)
        if kind < 0.65:
            return "~"
        if kind < 0.78:
            parts = [self.sequence(words, depth - 1) for _ in range(self.random.choice((1, 1, 2)))]
            return f"[{','.join(parts)}]"
        if kind < 0.92:
            return f"<{self.sequence(words, depth - 1)}>"
        parts = [self.sequence(words, depth - 1) for _ in range(self.random.choice((1, 2)))]
        return "{" + ", ".join(parts) + "}" + self.random.choice(("", "%"))

    def small(self, words: tuple[str, ...]) -> str:
        return self.mini(words, self.random.choice((0, 1, 2)))

    def pick(self, *choices: str) -> str:
        return self.random.choice(choices)

    # TidalCycles.

    def tidal(self, depth: int = 2) -> str:
        """Return an expression of TidalCycles: a pattern of controls."""
        if depth and self.chance(0.25):
            many = ", ".join(self.tidal(depth - 1) for _ in range(self.random.randint(1, 3)))
            return f"{self.pick('stack', 'cat', 'fastcat')} [{many}]"
        code = self.tidal_controls()
        while depth and self.chance(0.45):
            code = f"{self.tidal_function(depth)} $ {code}"
        return f"({code})" if depth < 2 else code

    def tidal_controls(self) -> str:
        controls = [f's "{self.small(WORDS)}"']
        for name, words in (("gain", GAINS), ("n", NUMBERS), ("nudge", ("0", "0.01")), ("pan", ("0", "1"))):
            if self.chance(0.3):
                value = self.pick(f'"{self.small(words)}"', self.pick(*words))
                controls.append(f"{name} {value}")
        if self.chance(0.3):
            self.random.shuffle(controls)
        if self.chance(0.15):
            controls.append(f"gain {self.pick('sine', '(range 0.5 1 saw)', '(slow 2 tri)', '(fast 3 square)')}")
        code = controls[0]
        for control in controls[1:]:
            code += f" {self.pick('#', '#', '#', '|>', '|>|', '>|', '|<', '|<|', '<|')} {control}"
        if self.chance(0.15):
            code += self.pick(' |+ n "<1 2>"', ' |+| n "1 2"', " |* gain 0.5", ' +| n "1 2 3"', ' + n "1"')
        return code

    def tidal_function(self, depth: int) -> str:
        """Return a function of a pattern."""
        factor = self.pick("2", "3", "0.5", "1.5", '"<2 3>"', '"2 1"')
        time = self.pick("0.25", "(1/8)", "0.125", '"<0 0.25>"', '"0 0.125"')
        plain = [
            f"fast {factor}", f"slow {factor}", "rev", f"({time} ~>)", f"({time} <~)",
            "ply " + self.pick("2", "3", '"<2 3>"'), "brak",
            "palindrome", f"iter {self.pick('2', '3', '4')}", f"swingBy {self.pick('(1/3)', '0.2', '0.1')} 4",
            f'struct "{self.pick("t f t t", "t(3,8)", "f(5,8,2)", "<t f> t", "[t*2] t ~", "t f . t")}"',
            f'mask "{self.pick("1 0", "<1 0>", "1 1 0 1", "t f")}"', f"euclid {self.pick('3 8', '5 8', '2 5')}",
            f"euclidOff {self.pick('3 8 2', '5 8 1')}", "(# gain 0.5)", f"rotL {self.pick('0.25', '1')}",
        ]  # fmt: skip
        if depth == 0 or self.chance(0.6):
            return self.random.choice(plain)
        inner = self.tidal_function(0)
        inner = inner if inner[0] == "(" else f"({inner})"
        return self.pick(
            f"every {self.pick('2', '3')} {inner}", f"off {time} {inner}", f"superimpose {inner}",
            f"whenmod 4 2 {inner}",
            f"inside {self.pick('2', '4')} {inner}", f"({inner} . rev)", f"jux {inner}",
        )  # fmt: skip

    # Strudel.

    def strudel(self) -> str:
        """Return a program of Strudel."""
        if self.chance(0.6):
            return self.strudel_pattern(2)
        labels = [self.pick("$: ", "", "$: ", "drums: ", "_$: ", "") for _ in range(self.random.randint(2, 3))]
        names = {label for label in labels if label == "drums: "}
        lines = [label + self.strudel_pattern(1) for label in labels]
        if not names and self.chance(0.2):
            lines.append("all(x => x.fast(2))")
        if self.chance(0.2):
            lines.insert(0, "setcpm(30)")
        return self.pick("\n", ";\n", "\n\n").join(lines)

    def strudel_pattern(self, depth: int) -> str:
        if depth and self.chance(0.25):
            many = ", ".join(self.strudel_pattern(depth - 1) for _ in range(self.random.randint(1, 3)))
            return f"{self.pick('stack', 'cat', 'seq', 'fastcat')}({many})" + self.strudel_methods(depth)
        return self.strudel_controls() + self.strudel_methods(depth)

    def strudel_controls(self) -> str:
        controls = [("s", f'"{self.small((*WORDS, "hh:1:0.5"))}"')]
        for name, words in (("gain", GAINS), ("n", NUMBERS), ("nudge", ("0", "0.01", ".02")), ("pan", ("0", "1"))):
            if self.chance(0.3):
                controls.append((name, self.pick(f'"{self.small(words)}"', self.pick(*words), "`" + words[0] + " ~`")))
        if self.chance(0.3):
            self.random.shuffle(controls)
        if self.chance(0.15):
            controls.append(("gain", self.pick("sine", "saw.range(.5, 1)", "tri.slow(2)", "square.fast(3)")))
        (name, value), *others = controls
        code = f"{value}.{name}()" if value.startswith('"') and self.chance(0.2) else f"{name}({value})"
        return code + "".join(f".{name}({value})" for name, value in others)

    def strudel_methods(self, depth: int) -> str:
        code = ""
        while depth and self.chance(0.45):
            code += self.strudel_method(depth)
        return code

    def strudel_method(self, depth: int) -> str:
        """Return a method of a pattern."""
        factor = self.pick("2", "3", "0.5", "1.5", '"<2 3>"', '"2 1"', "2, 1")
        time = self.pick(".25", "1/8", "0.125", '"<0 .25>"', '"0 .125"', "-.25")
        plain = [
            f".fast({factor})", f".slow({factor})", ".rev()", f".late({time})", f".early({time})",
            ".ply(" + self.pick("2", "3", '"<2 3>"') + ")",
            ".brak()", ".palindrome()", f".iter({self.pick('2', '3', '4')})", f".swing({self.pick('2', '4', '8')})",
            f".swingBy({self.pick('1/3', '.2', '0.1')}, 4)", ".press()", f".pressBy({self.pick('.25', '.5')})",
            f'.struct("{self.pick("1 0 1 1", "1(3,8)", "<1 0> 1", "x ~ x")}")',
            f'.mask("{self.pick("1 0", "<1 0>", "1 1 0 1")}")', f".euclid({self.pick('3,8', '5,8', '2,5')})",
            f".euclidRot({self.pick('3,8,2', '5,8,1')})", ".gain(.5)", ".iterBack(4)",
        ]  # fmt: skip
        if depth == 0 or self.chance(0.6):
            return self.random.choice(plain)
        inner = "x => x" + self.strudel_method(0)
        return self.pick(
            f".every({self.pick('2', '3')}, {inner})", f".off({time}, {inner})", f".superimpose({inner})",
            f".lastOf(2, {inner})", f".inside({self.pick('2', '4')}, {inner})", f".firstOf(3, {inner})",
            f".jux({inner})", ".every(2, rev)", ".off(1/8, fast(2))",
        )  # fmt: skip

"""Transcripts in a README: the commands of a fenced block are typed again, and must say what stands there.

A block holds `$ command` with the lines it says, and `# words` for what happens in between. Figures may differ, and the
blanks that follow from their widths; words, names, epochs, counts of voters and of writes, and lists of ids may not.
"""
import os
import re

from .cluster import ROOT, Failure

KEPT = r"epochs? \d+(?: -> \d+)?|\d+ of \d+ voters|\d+ writes|\d+(?:, \d+)+"
FIGURES = ((r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>"), (r"\d+\.\d+\.\d+\.\d+:\d+", "<address>"), (r"\b[0-9a-f]{16,}\b", "<id>"),
           (r"\d[\d,.]* m?s\b", "<duration>"), (r"\d[\d,.]* (?:[KMGT]i)?B\b", "<size>"), (r"\d[\d,.]*", "<number>"))
ANY = re.compile("|".join([f"(?:{KEPT})", *(f"({pattern})" for pattern, _ in FIGURES)]))


def same_but_figures(line):
    """The line with its figures named by kind, without blanks."""
    name = lambda m: FIGURES[m.lastindex - 1][1] if m.lastindex else m[0]
    return ANY.sub(name, " ".join(line.split())).replace(" ", "")


def figures(line):
    return [m[0] for m in ANY.finditer(" ".join(line.split())) if m.lastindex]


class Block:
    """The first fenced block under a heading."""

    def __init__(self, path, heading):
        self.path = os.path.join(ROOT, path)
        with open(self.path, encoding="utf-8") as handle:
            self.text = handle.read()
        match = re.search(rf"^#+ {re.escape(heading)}\n.*?^```[a-z]*\n(.*?)^```$", self.text, re.M | re.S)
        if not match:
            raise Failure(f"{path} has no fenced block under the heading {heading!r}")
        self.begin, self.end = match.span(1)
        self.steps = []  # (line, what it says)
        for line in match[1].splitlines():
            if line.startswith(("$ ", "# ")):
                self.steps.append((line, []))
            elif line.strip():
                if not self.steps:
                    raise Failure(f"{path}: {line!r} stands before any command")
                self.steps[-1][1].append(line)

    def write(self, text):
        with open(self.path, "w", encoding="utf-8") as handle:
            handle.write(self.text[:self.begin] + text + self.text[self.end:])


class Differs(Failure):
    pass


def compare(wanted, got, learned):
    """Raises Differs at the first line that is not the same; `learned` then maps the figures of `wanted` to those of `got`."""
    got = [line.rstrip() for line in got.splitlines() if line.strip()]
    for i in range(max(len(wanted), len(got))):
        one, other = (lines[i] if i < len(lines) else None for lines in (wanted, got))
        if one is None or other is None or same_but_figures(one) != same_but_figures(other):
            raise Differs(f"line {i + 1} is told as {one!r} and is {other!r}; all of it:\n" + "\n".join(got))
        learned.update(zip(figures(one), figures(other)))

"""Draws `first-day.svg` from a real session in a terminal: `python3 docs/pictures/draw.py target/debug/gleitzeit`.

Needs tmux. What is typed is below; what stands in the picture is what the program printed.
"""

import html
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
COLUMNS, ROWS = 80, 44
#: Of a character, and of a line, in the picture's units.
WIDTH, HEIGHT, MARGIN = 8.4, 19, 16
COLOURS = {31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 34: "#79c0ff", 35: "#d2a8ff", 36: "#76e3ea", 90: "#8b949e"}
TYPED = [
    "gleitzeit init hello",
    "gleitzeit run hello.yaml",
    "gleitzeit graph last",
    "gleitzeit validate greeting.yaml",
    "gleitzeit trace last",
    "gleitzeit list",
]
MISSPELLED = "name: Greeting\ntasks:\n  - id: hello\n    methd: util/echo\n"


def session(program: pathlib.Path) -> str:
    """The screen at the end, with its colours."""
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "greeting.yaml").write_text(MISSPELLED)
        socket = f"{folder}/tmux"

        def tmux(*arguments: str) -> str:
            done = subprocess.run(["tmux", "-S", socket, *arguments], check=True, capture_output=True, text=True)
            return done.stdout

        path = f"{program.resolve().parent}:{os.environ['PATH']}"
        shell = f"exec env -i HOME='{folder}/home' PATH='{path}' TERM=xterm-256color LANG=C.UTF-8 HISTFILE= PS1='\\#$ ' bash --norc"
        tmux("-f", "/dev/null", "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-c", folder, "sh", "-c", shell)
        try:
            for number, line in enumerate(TYPED, start=2):
                tmux("send-keys", "-l", line)
                tmux("send-keys", "Enter")
                deadline = time.monotonic() + 60
                while not tmux("capture-pane", "-p").rstrip().endswith(f"\n{number}$"):
                    if time.monotonic() > deadline:
                        sys.exit(f"`{line}` does not end:\n{tmux('capture-pane', '-p')}")
                    time.sleep(0.05)
            return tmux("capture-pane", "-p", "-e")
        finally:
            tmux("kill-server")


def pieces(line: str, style: "dict[str, Any]") -> "list[tuple[str, str]]":
    """A line's texts, each with its style; it goes on in the next line."""
    found = []
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b["):
            for code in (int(it or 0) for it in part[2:-1].split(";")):
                if code in (0, 39):
                    style["colour"] = ""
                if code in (0, 22):
                    style["bold"] = style["dim"] = False
                if code == 1:
                    style["bold"] = True
                if code == 2:
                    style["dim"] = True
                if code in COLOURS:
                    style["colour"] = COLOURS[code]
        elif part:
            colour = style["colour"] or ("#8b949e" if style["dim"] else "")
            attributes = (f' fill="{colour}"' if colour else "") + (' font-weight="bold"' if style["bold"] else "")
            found.append((part, attributes))
    return found


def draw(screen: str) -> str:
    """The picture of a screen."""
    lines = [re.sub(r"^(\x1b\[[0-9;]*m)*\d+\$ ", "\x1b[0;32m$\x1b[0m \x1b[1m", line) for line in screen.rstrip().splitlines()]
    lines = [line for line in lines if not re.fullmatch(r"(\x1b\[[0-9;]*m)*\d+\$\s*(\x1b\[[0-9;]*m)*", line)]
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"'
        ' aria-label="A session in a terminal: a workflow is made, run, drawn, traced and listed, and another is checked">',
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#0d1117"/>',
        '<g font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="14" fill="#e6edf3">',
    ]
    style: "dict[str, Any]" = {"colour": "", "bold": False, "dim": False}
    for row, line in enumerate(lines):
        column = 0
        if line.startswith("\x1b[0;32m$"):
            line += "\x1b[0m"
        for text, attributes in pieces(line, style):
            if text.strip():
                x, y = MARGIN + column * WIDTH, MARGIN + row * HEIGHT + 14
                size = f'{len(text) * WIDTH:g}'
                shown = html.escape(text, quote=False)
                out.append(
                    f'<text x="{x:g}" y="{y:g}" textLength="{size}" lengthAdjust="spacingAndGlyphs"'
                    f' xml:space="preserve"{attributes}>{shown}</text>'
                )
            column += len(text)
    return "\n".join([*out, "</g>", "</svg>", ""])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    (HERE / "first-day.svg").write_text(draw(session(pathlib.Path(sys.argv[1]))))

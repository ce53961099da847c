"""Writes the sources of a core in which the bugs of mutants.py can be switched on.

Usage: plant.py SRC/CORE OUTPUT. Fails if a text to be replaced is not there exactly once: then the
core has changed and the bug must be planted anew.
"""
import pathlib
import sys

from mutants import MUTANTS

PLANTED_H = """// Made by plant.py: which planted bug is on, by its number; 0: none.
#pragma once
namespace stoker::core {
inline int planted_bug = 0;
inline constexpr int planted_bugs = %d;
inline const char* const planted_names[] = {%s};
}  // namespace stoker::core
"""


def main(source: pathlib.Path, output: pathlib.Path) -> int:
    texts = {path.name: path.read_text() for path in sorted(source.glob("*.cpp"))}
    # First what holds a longer text with another's inside, so that each is found as it was written.
    numbered = list(enumerate(MUTANTS, 1))
    edits: dict[str, list[tuple[int, int, str, str]]] = {}
    failed = False
    for number, (name, file, find, replace) in numbered:
        count = texts[file].count(find)
        if count != 1:
            print(f"mutants.py: '{name}': its text is in {file} {count} times", file=sys.stderr)
            failed = True
            continue
        edits.setdefault(file, []).append((number, texts[file].index(find), find, replace))
    if failed:
        return 1
    output.mkdir(parents=True, exist_ok=True)
    names = ", ".join(f'"{name}"' for _, (name, *_rest) in numbered)
    write(output / "planted.h", PLANTED_H % (len(MUTANTS), names))
    for file, text in texts.items():
        for number, _, find, replace in edits.get(file, []):
            planted = f"(::stoker::core::planted_bug == {number})"
            replaced = replace.replace("PLANTED", planted)
            if text.count(find) == 1:
                text = text.replace(find, replaced)
                continue
            # Another bug was planted in the same text: keep both by replacing what is left of it.
            print(f"mutants.py: number {number} overlaps another one in {file}", file=sys.stderr)
            return 1
        write(output / file, '#include "planted.h"\n' + text)
    return 0


def write(path: pathlib.Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))

"""Writes the sources of a core in which the bugs of mutants.py can be switched on.

Usage: plant.py SRC/CORE OUTPUT. Fails if a text to be replaced is not there exactly once, line breaks
apart: then the core has changed and the bug must be planted anew.
"""
import pathlib
import re
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


def pattern_of(text: str) -> re.Pattern:
    """Finds the text however it is broken into lines."""
    tokens = re.findall(r"\w+|[^\w\s]", text)
    return re.compile(r"\s*".join(re.escape(token) for token in tokens))


def main(source: pathlib.Path, output: pathlib.Path) -> int:
    texts = {str(path.relative_to(source)): path.read_text() for path in sorted(source.rglob("*.cpp"))}
    failed = False
    for number, (name, file, find, replace) in enumerate(MUTANTS, 1):
        pattern = pattern_of(find)
        count = len(pattern.findall(texts[file]))
        if count != 1:
            print(f"mutants.py: '{name}': its text is in {file} {count} times "
                  "(or another bug was planted in it)", file=sys.stderr)
            failed = True
            continue
        planted = replace.replace("PLANTED", f"(::stoker::core::planted_bug == {number})")
        texts[file] = pattern.sub(lambda _: planted.strip(), texts[file])
    if failed:
        return 1
    names = ", ".join(f'"{name}"' for name, *_ in MUTANTS)
    write(output / "planted.h", PLANTED_H % (len(MUTANTS), names))
    for file, text in texts.items():
        write(output / file, '#include "planted.h"\n' + text)
    return 0


def write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))

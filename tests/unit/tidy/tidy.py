"""Checks that the sources keep to the architecture. Usage: tidy.py REPOSITORY

Each finding is one line: FILE:LINE: what is banned; what to do instead. Exit 1 if there is one.
"""
import pathlib
import re
import sys

# What each folder of src/ may include besides itself, as docs/ARCHITECTURE.md says.
MAY_INCLUDE = {
    "base": set(),
    "core": {"base"},
    "sim": {"base", "core"},
    "config": {"base"},
    "obs": {"base"},
    "openapi": {"base", "config"},
    "net": {"base"},
    "tls": {"base", "net"},
    "outbound": {"base"},
    "sqlite": {"base"},
    "access": {"base", "sqlite"},
    "ledger": {"base", "obs", "sqlite"},
    "backend": {"base", "net", "obs"},
    "worker": {"base", "net"},
    "gateway": {"base", "net", "obs", "ledger", "access", "openapi"},
    "jobs": {"base", "net", "obs", "access", "gateway", "sqlite", "outbound"},
    "answers": {"base", "net", "obs", "gateway", "sqlite"},
    "traffic": {"base", "net", "ledger", "sim"},
    "orchestrator": {"base", "core", "net", "obs", "backend", "gateway", "ledger", "access"},
    "cli": {"base", "config", "net", "tls", "backend", "ledger", "sim", "traffic"},
    "app": {"base", "core", "config", "net", "tls", "obs", "backend", "gateway", "orchestrator", "ledger", "sim", "traffic",
            "cli", "access", "jobs", "outbound", "answers"},
}

# (folders, pattern, advice). An empty set of folders means everywhere in src/.
BANNED = [
    ({"core", "base"}, r"::now\(", "time is an argument of step()"),
    ({"core"}, r"#include <(thread|mutex|atomic|condition_variable|fstream|iostream|cmath|random|unordered_\w+)>",
     "the core has no threads, files, libm, or iteration by hash"),
    ({"core"}, r"random_device|getenv|unordered_|\bfloat\b", "the core is deterministic"),
    ({"core/metering"}, r"\bdouble\b", "money and limits are integers"),
    ({"sim"}, r"::now\(|random_device|#include <(cmath|random|thread|mutex)>",
     "a simulation is the same on every machine: base/real_math.h, base/random_variates.h"),
    ({"core"}, r"\bobs/|\bnet/", "the core logs nothing and knows no world; give it out as data"),
    (set(), r"\bPR_SET_PDEATHSIG\b", "it fires when a thread dies; the control channel tells (DESIGN.md 4.3)"),
    (set(), r"\b(strcpy|sprintf|gets|system|popen)\(", "use fmt, std::string, posix_spawn"),
    (set(), r"using namespace std\b", "name what you use"),
    (set(), r"\bassert\(", "use STOKER_INVARIANT: it is on in release builds"),
]


def strip_comments(text: str) -> str:
    """Blanks comments and string literals, keeping line numbers."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)) if not m.group(0).startswith('"') else m.group(0)
                       if "/" in m.group(0) else '""', text)


def check(repository: pathlib.Path) -> list[str]:
    findings = []
    for path in sorted((repository / "src").rglob("*")):
        if path.suffix not in {".h", ".cpp"}:
            continue
        parts = path.relative_to(repository / "src").parts
        folder = parts[0]
        raw = path.read_text()
        text = strip_comments(raw)
        shown = path.relative_to(repository)
        for number, line in enumerate(text.splitlines(), 1):
            include = re.match(r'#include "([a-z_]+)/', line)
            if include:
                other = include.group(1)
                if other in MAY_INCLUDE and other != folder and other not in MAY_INCLUDE.get(folder, set()):
                    findings.append(f"{shown}:{number}: src/{folder} must not include {other}/; see docs/ARCHITECTURE.md")
            for folders, pattern, advice in BANNED:
                if folders and not folders & {folder, "/".join(parts[:2])}:
                    continue
                if re.search(pattern, line):
                    findings.append(f"{shown}:{number}: {pattern}: {advice}")
        for number, line in enumerate(raw.splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b", line) and "XXXXXX" not in line:
                findings.append(f"{shown}:{number}: unfinished: finish it, or write an issue")
        if path.suffix == ".h" and "#pragma once" not in raw:
            findings.append(f"{shown}:1: no #pragma once")
    return findings


def self_test() -> None:
    assert strip_comments('a // ::now(\nb') .count("::now(") == 0
    assert re.search(BANNED[0][1], strip_comments("x = clock::now();"))


def main() -> int:
    self_test()
    findings = check(pathlib.Path(sys.argv[1]))
    print("\n".join(findings) or "tidy: nothing found")
    return 1 if findings else 0


sys.exit(main())

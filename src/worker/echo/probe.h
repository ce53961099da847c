// What a hostile worker would try, tried honestly: connect out, open a file, fork without end,
// trace or read a neighbour. For the drill that proves the sandbox (C17 in RELIABILITY.md). It
// reports whether the attempt worked, never what it found.
#pragma once

#include <string>
#include <string_view>

namespace stoker::worker {

/// `order` is one of {"connect": "host:port" | "unix:/path"}, {"open": "/path"}, {"env": "NAME"},
/// {"fork": N}, {"ptrace": pid}, {"read_mem": pid}.
/// Gives: {"probe": "open", "worked": false, "detail": "Permission denied"}; {"error": ...} for an
/// order of another shape.
/// Cost: blocks, a second at most.
[[nodiscard]] std::string run_probe(std::string_view order);

}  // namespace stoker::worker

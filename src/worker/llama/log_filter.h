// llama.cpp's log lines: which of them may reach our log, and why a load failed. While loading,
// warnings and errors pass. While serving, only lines of the compute back ends do: the server's own
// warnings and the sampler's errors quote prompts, outputs and grammars.
#pragma once

#include <string>

namespace stoker::worker {

/// Takes over the log of llama.cpp and ggml for the whole process. Threads: any after the first
/// call.
void log_while_loading();
void log_while_serving();

/// The errors since log_while_loading(), oldest first, joined by "; " and without their function
/// names; empty if there were none.
[[nodiscard]] std::string load_errors();

}  // namespace stoker::worker

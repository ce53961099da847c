// How much memory a process holds, split as the memory ledger wants it: what is the instance's own,
// and what it shares with others through a mapped weights file. Reads /proc; no state.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>

#include "base/units.h"

namespace stoker::worker {

struct MemoryUse {
  /// Resident pages that only this process holds, locked ones included: Private_Clean,
  /// Private_Dirty and Private_Hugetlb of every mapping that is not of a weights file, and the
  /// anonymous (written) pages of those that are.
  Bytes private_bytes;
  /// Resident file pages of the weights. Counted here even where only one process maps them, since
  /// the kernel would call those private.
  Bytes shared_bytes;
};

/// Sums over `pid` and, for shared bytes, takes each weights file once: the largest figure of any
/// process. A process that is gone counts nothing.
/// Cost: a walk over the page tables, milliseconds per process.
/// Source: Linux Documentation/filesystems/proc.rst, "smaps".
MemoryUse measure_memory(std::span<const pid_t> processes, std::span<const std::string> weights);

}  // namespace stoker::worker

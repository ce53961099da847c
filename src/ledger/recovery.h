// What a start must know about the journal that an earlier life left: where it ends, whether
// anything that was promised is damaged, and what was never ended. Only reads.
//
// The first byte that is no whole record ends the journal. If the sync marks say that the record
// there had been on the disk, that is damage, and an error; else it is the torn tail of a crash.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "ledger/journal_reader.h"
#include "ledger/record.h"
#include "ledger/sequence.h"

namespace stoker::ledger {

struct InstanceKey {
  Epoch epoch;
  InstanceId instance;
  Generation generation;
  auto operator<=>(const InstanceKey&) const = default;
};

/// What is begun and not ended, with the number of the segment that holds the beginning.
struct OpenWork {
  struct Instance {
    InstanceStart start;
    std::uint64_t segment = 0;
  };
  std::unordered_map<std::uint64_t, std::uint64_t> requests;  // id -> segment
  std::map<InstanceKey, Instance> instances;
  std::unordered_set<std::uint64_t> dispatched;  // of the requests, those with a Dispatch

  [[nodiscard]] std::size_t size() const { return requests.size() + instances.size(); }
  void apply(const Record& record, std::uint64_t segment);
};

struct ScannedSegment {
  SegmentFile file;
  Sequence last;  // of its records; 0 if it and all before it have none
};
/// A file behind the end: prepared and never used, or torn.
struct LeftoverSegment {
  SegmentFile file;
  std::uint64_t used_bytes = 0;  // behind it only zeros
  bool reusable = false;         // the very next number, the right size, all zeros
};

struct RecoveryScan {
  std::vector<ScannedSegment> segments;    // oldest first; appending goes on in the last
  std::vector<LeftoverSegment> leftovers;  // ascending
  std::uint64_t end_bytes = 0;             // offset behind the last whole record
  std::uint64_t torn_end_bytes = 0;        // offset behind the last byte that is not zero
  Sequence last;                           // last whole record, 0 if none
  Sequence synced;                         // everything up to here had reached the disk
  OpenWork open;
};

/// Needs:  nobody appends meanwhile.
/// Gives:  no segments if the directory is empty.
/// Errors: corrupt (file and offset), unavailable.
/// Cost:   reads every segment once, one at a time in memory.
[[nodiscard]] Result<RecoveryScan> scan_for_recovery(const std::filesystem::path& directory,
                                                     std::size_t segment_bytes);

}  // namespace stoker::ledger

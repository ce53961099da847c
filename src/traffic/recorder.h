// Records the traffic of a server in Stoker's trace format (docs/trace-format.md): the world as the
// server knows it, then each ended request with its receipt. `stoker replay` and the planner read
// it. No prompt, answer, key or address is in it.
//
// It hears of requests from the ledger's thread and costs the request's own path nothing. Requests
// end in another order than they come, and a trace is sorted by arrival: one that has ended is held
// back until all that came before it have ended too. What was held back when the server died is
// told again from the journal at its next start, and is written then.
//
// A disk that is full or gone stops the recording, never the ledger: lines are dropped and counted,
// and it goes on as soon as it can.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "base/id_table.h"
#include "base/result.h"
#include "base/units.h"
#include "ledger/request_listener.h"
#include "sim/workload/calibration.h"
#include "sim/workload/trace.h"
#include "sim/workload/world_builder.h"
#include "traffic/rotating_files.h"

namespace stoker::traffic {

struct RecorderOptions {
  RotatingFiles::Options files;
  /// Requests held back at most. When there are more, the oldest is written although it still runs,
  /// without what only its end could tell.
  std::size_t most_held = std::size_t{1} << 16;
  /// Lines are written when a batch has ended, or when there are so many bytes of them.
  std::size_t write_size = std::size_t{256} << 10;
};

class Recorder final : public ledger::RequestListener {
 public:
  struct Events {
    /// The recording stopped. Told once, until it goes on.
    std::function<void(const Error&)> on_trouble;
    /// It goes on after so many requests were lost.
    std::function<void(std::uint64_t lost)> on_resumed;
  };

  /// `world`: devices and deployments as far as they are known at the start. What earlier lives
  /// measured is taken from the newest file.
  /// `journal_end`: the journal's last record. It says whether the files are of this journal.
  Recorder(RecorderOptions options, const sim::TraceWorld& world, ledger::Sequence journal_end,
           Events events, ledger::FileIo& io = ledger::real_file_io());
  /// Writes what has ended.
  ~Recorder() override;
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void admitted(ledger::Sequence record, const ledger::Admission& admission) override;
  void ended(const ledger::Admission& admission, const ledger::Usage& usage,
             bool stored_before) override;
  void batch_ended() override;

 private:
  struct Held {
    std::uint64_t record = 0;  // the journal's, of its admission
    RequestId id;
    WallTime accepted_at;
    sim::TraceRequest request;
    bool ended = false;
    bool dropped = false;
  };
  void look_at_old_files(ledger::Sequence journal_end);
  void write_ended();
  void write(Held& held);
  [[nodiscard]] Result<void> begin_file(WallTime at);
  [[nodiscard]] Result<void> flush();
  void drop(const Error& why, std::uint64_t lines);

  const RecorderOptions options_;
  const Events events_;
  RotatingFiles files_;
  sim::WorldBuilder names_;
  sim::Calibration calibration_;

  std::deque<Held> held_;                       // in order of arrival
  std::uint64_t held_before_ = 0;               // how many left its front
  IdTable<RequestId, std::uint64_t> place_of_;  // of those that run: in held_, + held_before_
  std::uint64_t last_admitted_ = 0;             // record
  std::uint64_t written_ = 0;  // the record of the last admission that is in the files, or lost
  bool goes_on_ = false;       // `written_` is of an earlier life: what follows it is still to come

  std::string lines_;  // not yet in the file
  std::uint64_t lines_count_ = 0;
  WallTime file_started_at_;
  Duration last_at_;
  std::uint64_t lost_ = 0;
  bool in_trouble_ = false;
};

}  // namespace stoker::traffic

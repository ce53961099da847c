// What a crash, a power cut or a bad disk leaves, and what a start makes of it.
#include "ledger/recovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <new>

#include "base/prng.h"
#include "ledger/frame.h"
#include "ledger/journal.h"
#include "support.h"

namespace stoker::ledger {
namespace {

std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void spill(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}
void flip_bit(const std::filesystem::path& path, std::size_t bit) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  const auto at = static_cast<std::streamoff>(bit / 8);
  file.seekg(at);
  const int byte = file.get() ^ (1 << (bit % 8));
  file.seekp(at);
  file.put(static_cast<char>(byte));
}

/// A journal with requests 1..count, all ended but 2 and 4. Gives: the end of its records.
std::uint64_t write_journal(const JournalOptions& options, std::uint64_t count) {
  {
    const auto journal = must_open(options);
    for (std::uint64_t id = 1; id <= count; ++id) {
      while (!journal->append(admission(id))) std::this_thread::yield();
      if (id != 2 && id != 4) {
        EXPECT_TRUE(journal->append(ending(id)).has_value());
      }
    }
  }
  return scan_for_recovery(options.directory, 65536)->end_bytes;
}

/// Clears the sync mark of a segment, as if the machine had lost power before anything was synced.
void forget_sync(const std::filesystem::path& segment) {
  std::string bytes = slurp(segment);
  bytes.replace(32, 32, 32, '\0');
  spill(segment, bytes);
}

TEST(Recovery, ATornTailIsCutAtEveryByte) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  const std::uint64_t end = write_journal(options, 4);
  const std::filesystem::path file = segment_path(options.directory, 1);
  forget_sync(file);
  const std::string whole = slurp(file);
  std::uint64_t last_complete = 0;
  for (std::size_t keep = segment_header_bytes; keep <= end; ++keep) {
    SCOPED_TRACE(keep);
    std::string torn = whole;
    torn.replace(keep, torn.size() - keep, torn.size() - keep, '\0');
    spill(file, torn);
    const Result<RecoveryScan> scan = scan_for_recovery(options.directory, 65536);
    ASSERT_TRUE(scan.has_value()) << scan.error().message;
    EXPECT_GE(scan->last.value, last_complete);
    EXPECT_LE(scan->end_bytes, keep + 7) << "a frame may end in zeros";
    last_complete = scan->last.value;
  }
  EXPECT_EQ(last_complete, 7U) << "start, four admissions, two endings";
}

TEST(Recovery, AfterATornTailAppendingGoesOn) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  const std::uint64_t end = write_journal(options, 4);
  const std::filesystem::path file = segment_path(options.directory, 1);
  std::string bytes = slurp(file);
  bytes.replace(end, 11, "half a reco");
  spill(file, bytes);
  {
    const auto journal = must_open(options, 2);
    ASSERT_TRUE(journal);
    EXPECT_EQ(journal->recovered().torn_bytes, 11U);
    EXPECT_THAT(journal->recovered().torn_at, testing::HasSubstr("0000000001.seg at"));
    EXPECT_EQ(journal->recovered().interrupted_requests, 2U);
  }
  const Contents contents = read_all(options.directory);
  contents.expect_balanced();
  EXPECT_EQ(contents.endings.at(2).front(), Outcome::interrupted);
  EXPECT_EQ(contents.endings.at(3).front(), Outcome::completed);
  EXPECT_EQ(contents.server_starts, 2U);
}

TEST(Recovery, NoFlippedBitOfASyncedRecordGoesUnseen) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  const std::uint64_t end = write_journal(options, 4);
  const std::filesystem::path file = segment_path(options.directory, 1);
  const auto flipped = [&](std::size_t bit) {
    flip_bit(file, bit);
    Result<RecoveryScan> scan = scan_for_recovery(options.directory, 65536);
    flip_bit(file, bit);
    return scan;
  };
  for (std::size_t bit = segment_header_bytes * 8; bit < end * 8; ++bit) {
    const Result<RecoveryScan> scan = flipped(bit);
    ASSERT_FALSE(scan.has_value()) << "bit " << bit;
    EXPECT_EQ(scan.error().code, ErrorCode::corrupt);
    EXPECT_THAT(scan.error().message, testing::HasSubstr("0000000001.seg at offset"));
  }
  // In the header: seen, or (mark, unused bytes) without any effect on the records.
  for (std::size_t bit = 0; bit < segment_header_bytes * 8; ++bit) {
    const Result<RecoveryScan> scan = flipped(bit);
    if (scan) {
      EXPECT_EQ(scan->last.value, 7U) << "bit " << bit;
    }
  }
}

TEST(Recovery, DamageInTheMiddleIsAnErrorWithItsPlace) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  write_journal(options, 2000);
  ASSERT_GT(list_segments(options.directory)->size(), 3U);
  Prng random(7);
  for (int i = 0; i < 50; ++i) {
    const std::filesystem::path file = segment_path(options.directory, 2);
    const std::size_t bit = (segment_header_bytes + random.below(60'000)) * 8 + random.below(8);
    flip_bit(file, bit);
    const auto journal = Journal::open(options, server_start(2), {});
    ASSERT_FALSE(journal.has_value()) << "bit " << bit;
    EXPECT_EQ(journal.error().code, ErrorCode::corrupt);
    EXPECT_THAT(journal.error().message, testing::HasSubstr("0000000002.seg at offset"));
    flip_bit(file, bit);
  }
  std::filesystem::remove(segment_path(options.directory, 2));
  EXPECT_EQ(Journal::open(options, server_start(2), {}).error().code, ErrorCode::corrupt);
}

TEST(Recovery, AHeadlessFirstFileIsAnError) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  std::filesystem::create_directory(options.directory);
  spill(segment_path(options.directory, 5), std::string(65536, '\0'));
  EXPECT_EQ(Journal::open(options, server_start(), {}).error().code, ErrorCode::corrupt);
}

TEST(Recovery, TheEarlierOpenInstancesAreToldUntilTheyEnd) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  {
    const auto journal = must_open(options, 1);
    ASSERT_TRUE(journal->append_synced(instance_start(1)).has_value());
    ASSERT_TRUE(journal->append_synced(instance_start(2)).has_value());
    ASSERT_TRUE(journal->append(instance_end(1)).has_value());
  }
  for (int again = 0; again < 2; ++again) {
    const auto journal = must_open(options, 2);
    ASSERT_EQ(journal->recovered().open_instances.size(), 1U);
    EXPECT_EQ(journal->recovered().open_instances.front().instance.value, 2U);
    EXPECT_EQ(journal->recovered().open_instances.front().nonce, instance_start(2).nonce);
  }
  {
    const auto journal = must_open(options, 3);
    ASSERT_TRUE(journal->append(instance_end(2)).has_value());
  }
  EXPECT_TRUE(must_open(options, 4)->recovered().open_instances.empty());
}

// --- Killed processes --------------------------------------------------------------------------

/// What a child tells its parent as it goes; survives the child.
struct Progress {
  std::atomic<std::uint64_t> admitted{0};  // all ids up to here are acknowledged
  std::atomic<std::uint64_t> ended{0};
};

class SharedProgress {
 public:
  SharedProgress()
      : at_(new(::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Progress) {}
  ~SharedProgress() { ::munmap(at_, sizeof(Progress)); }
  Progress* operator->() { return at_; }
  Progress& operator*() { return *at_; }

 private:
  Progress* at_;
};

template <class Body>
pid_t in_child(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(0);
  }
  return child;
}
int reap(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

/// Admits one request after the other, ends each five requests later.
void append_for_ever(const JournalOptions& options, std::uint64_t first, Progress& progress) {
  auto opened = Journal::open(options, server_start(), {});
  if (!opened) ::_exit(3);
  for (std::uint64_t id = first;; ++id) {
    while (!(*opened)->append(admission(id))) std::this_thread::yield();
    progress.admitted = id;
    if (id < first + 5) continue;
    if (!(*opened)->append(ending(id - 5))) ::_exit(4);
    progress.ended = id - 5;
  }
}

TEST(Recovery, AKilledProcessLosesNothingAcknowledged) {
  Prng random(20261124);
  for (int round = 0; round < 20; ++round) {
    const TempDir dir;
    const JournalOptions options = tiny_journal(dir / "journal");
    SharedProgress progress;
    const std::uint64_t kill_after = 1 + random.below(3000);
    const pid_t child = in_child([&] { append_for_ever(options, 1, *progress); });
    while (progress->admitted < kill_after) std::this_thread::yield();
    ::kill(child, SIGKILL);
    ASSERT_TRUE(WIFSIGNALED(reap(child)));

    const auto journal = must_open(options, 2);
    ASSERT_TRUE(journal);
    const Contents contents = read_all(options.directory);
    contents.expect_balanced();
    ASSERT_GE(contents.admissions.size(), progress->admitted);
    for (std::uint64_t id = 1; id <= progress->admitted; ++id) {
      ASSERT_TRUE(contents.admissions.contains(id)) << id;
      if (id <= progress->ended) {
        ASSERT_EQ(contents.endings.at(id).front(), Outcome::completed);
      }
    }
    EXPECT_LE(journal->recovered().interrupted_requests, 6U);
  }
}

TEST(Recovery, CrashingInRecoveryAnyNumberOfTimesChangesNothing) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  SharedProgress progress;
  const pid_t child = in_child([&] { append_for_ever(options, 1, *progress); });
  while (progress->admitted < 1500) std::this_thread::yield();
  ::kill(child, SIGKILL);
  reap(child);

  // One crash before each call that changes the disk; each start finds what the last one left.
  bool finished = false;
  for (std::int64_t kill_at = 1; !finished; ++kill_at) {
    ASSERT_LT(kill_at, 1000) << "a start never stops writing";
    const int status = reap(in_child([&] {
      FaultyFileIo io({.fail_at = kill_at, .kill = true});
      const auto journal = Journal::open(options, server_start(2), {}, io);
      ::_exit(journal ? 0 : 5);
    }));
    ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << status;
    finished = WIFEXITED(status);
  }
  ASSERT_TRUE(must_open(options, 3));
  const Contents contents = read_all(options.directory);
  contents.expect_balanced();
  EXPECT_GE(contents.admissions.size(), progress->admitted);
}

// --- A failing disk ----------------------------------------------------------------------------

/// One life on a faulty disk: everything may fail, nothing may lie.
void live_on(FileIo& io, const JournalOptions& options, Contents& acknowledged) {
  auto opened = Journal::open(options, server_start(), {}, io);
  if (!opened) return;
  Journal& journal = **opened;
  for (std::uint64_t id = 1; id <= 1500; ++id) {
    if (!journal.append(admission(id))) continue;
    ++acknowledged.admissions[id];
    if (journal.append(ending(id))) acknowledged.endings[id] = {Outcome::completed};
    if (id % 100 == 0) {
      static_cast<void>(journal.sync());
      journal.release(journal.stats().synced);
    }
    if (id % 500 == 0 && journal.append_synced(instance_start(id))) {
      ++acknowledged.instance_starts[id];
    }
  }
}

TEST(Recovery, SurvivesEveryFailureOfTheDisk) {
  for (const bool forever : {false, true}) {
    for (std::int64_t fail_at = 1;; ++fail_at) {
      ASSERT_LT(fail_at, 1000) << "a life never stops writing";
      SCOPED_TRACE(testing::Message() << "call " << fail_at << (forever ? " for ever" : " once"));
      const TempDir dir;
      JournalOptions options = tiny_journal(dir / "journal");
      options.keep_segments = 1000;  // so that everything acknowledged can be looked up
      FaultyFileIo io({.fail_at = fail_at, .forever = forever});
      Contents acknowledged;
      live_on(io, options, acknowledged);
      io.heal();

      const auto journal = must_open(options, 2);
      ASSERT_TRUE(journal) << "not usable after the fault";
      const Contents found = read_all(options.directory);
      found.expect_balanced();
      for (const auto& [id, count] : acknowledged.admissions) {
        ASSERT_TRUE(found.admissions.contains(id)) << id;
      }
      for (const auto& [id, outcomes] : acknowledged.endings) {
        ASSERT_EQ(found.endings.at(id), outcomes) << id;
      }
      for (const auto& [id, count] : acknowledged.instance_starts) {
        ASSERT_TRUE(found.instance_starts.contains(id)) << id;
      }
      if (!io.tripped()) break;  // the Nth call is past the last one: done
    }
  }
}

}  // namespace
}  // namespace stoker::ledger

#include "ledger/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <optional>
#include <thread>
#include <vector>

#include "ledger/frame.h"
#include "support.h"

namespace stoker::ledger {
namespace {

using testing::ElementsAre;

TEST(Journal, GivesBackWhatWasAppended) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  {
    const auto journal = must_open(options);
    ASSERT_TRUE(journal);
    EXPECT_EQ(journal->append(admission(1))->value, 2U);  // 1 is the server's start
    EXPECT_TRUE(journal->is_open({1}));
    EXPECT_EQ(journal->append(ending(1))->value, 3U);
    EXPECT_FALSE(journal->is_open({1}));
    EXPECT_TRUE(journal->append_synced(instance_start(5)).has_value());
    EXPECT_EQ(journal->stats().synced.value, 4U);
    EXPECT_TRUE(journal->append(instance_end(5)).has_value());
  }
  const Contents contents = read_all(options.directory);
  EXPECT_EQ(contents.records, 5U);
  EXPECT_EQ(contents.instance_starts.at(5), 1);
  EXPECT_EQ(contents.instance_ends.at(5), 1);
  contents.expect_balanced();
}

TEST(Journal, EndsEachRequestOnce) {
  const TempDir dir;
  const auto journal = must_open(tiny_journal(dir / "journal"));
  EXPECT_EQ(journal->append(ending(1)).error().code, ErrorCode::invalid);
  ASSERT_TRUE(journal->append(admission(1)).has_value());
  EXPECT_EQ(journal->append(admission(1)).error().code, ErrorCode::invalid);
  ASSERT_TRUE(journal->append(ending(1)).has_value());
  EXPECT_EQ(journal->append(ending(1)).error().code, ErrorCode::invalid);
  EXPECT_EQ(journal->append(instance_end(9)).error().code, ErrorCode::invalid);
  EXPECT_EQ(journal->append(admission(2, "chat", std::string(300, 't'))).error().code,
            ErrorCode::invalid);
  EXPECT_EQ(journal->stats().appended.value, 3U);
}

TEST(Journal, DurableMeansInTheKernelOrOnTheDisk) {
  const TempDir dir;
  JournalOptions options = tiny_journal(dir / "process");
  options.sync_interval = seconds(3600);
  {
    const auto journal = must_open(options);
    const Sequence record = *journal->append(admission(1));
    std::optional<bool> durable;
    journal->when_durable(record, [&](const Result<void>& r) { durable = r.has_value(); });
    EXPECT_EQ(durable, true) << "in process mode at once";
    EXPECT_LT(journal->stats().synced, record);
  }
  options.directory = dir / "disk";
  options.durability = Durability::disk;
  const auto journal = must_open(options);
  std::vector<std::future<Sequence>> synced_when_told;
  for (std::uint64_t id = 1; id <= 100; ++id) {
    const Sequence record = *journal->append(admission(id));
    auto told = std::make_shared<std::promise<Sequence>>();
    synced_when_told.push_back(told->get_future());
    journal->when_durable(record, [&, told](const Result<void>& r) {
      told->set_value(r ? journal->stats().synced : Sequence{});
    });
  }
  for (std::uint64_t id = 1; id <= 100; ++id) {
    EXPECT_GE(synced_when_told[id - 1].get().value, id + 1);
  }
}

TEST(Journal, ManyThreadsMakeOneOrder) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  constexpr std::uint64_t per_thread = 400;
  {
    const auto journal = must_open(options);
    std::atomic<int> refused{0};
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (std::uint64_t id = t * per_thread + 1; id <= (t + 1) * per_thread; ++id) {
          // A segment is small here: now and then the next one is not ready yet.
          while (!journal->append(admission(id))) {
            ++refused;
            std::this_thread::yield();
          }
          EXPECT_TRUE(journal->append(ending(id)).has_value());
        }
      });
    }
  }
  const Contents contents = read_all(options.directory);
  EXPECT_EQ(contents.admissions.size(), 4 * per_thread);
  contents.expect_balanced();
}

/// Appends pairs until `segments` have been begun; with small segments the thread may lag.
std::uint64_t fill_segments(Journal& journal, std::uint64_t first_id, int segments) {
  std::uint64_t id = first_id;
  for (int i = 0; i < segments * 400; ++i, ++id) {
    while (!journal.append(admission(id))) std::this_thread::yield();
    EXPECT_TRUE(journal.append(ending(id)).has_value());
  }
  EXPECT_TRUE(journal.sync().has_value());
  return id;
}

/// Lets the journal's thread go round until `done`; bounded by the time limit of the test.
template <class Done>
void nudge_until(Journal& journal, std::uint64_t id, const Done& done) {
  while (!done()) {
    ASSERT_TRUE(journal.append(admission(id)).has_value());
    ASSERT_TRUE(journal.append(ending(id)).has_value());
    ASSERT_TRUE(journal.sync().has_value());
    ++id;
  }
}

std::size_t oldest_number(const JournalOptions& options) {
  return list_segments(options.directory)->front().number;
}

TEST(Journal, DeletesWhatNobodyNeeds) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  const auto journal = must_open(options);
  std::uint64_t id = fill_segments(*journal, 1, 8);
  EXPECT_EQ(oldest_number(options), 1U) << "nothing was released";
  const std::uint64_t segments = journal->stats().segments;
  ASSERT_GT(segments, 6U);

  // An open request holds its segment and all after it.
  ASSERT_TRUE(journal->append(admission(1'000'000)).has_value());
  ASSERT_TRUE(journal->append_synced(instance_start(5)).has_value());
  const std::uint64_t held = list_segments(options.directory)->back().number;
  id = fill_segments(*journal, id, 8);
  journal->release(journal->stats().appended);
  nudge_until(*journal, 2'000'000, [&] { return oldest_number(options) >= held - 2; });
  EXPECT_LE(oldest_number(options), held);

  // Its ending counts, too: whoever reads anew from before it needs the admission.
  ASSERT_TRUE(journal->append(ending(1'000'000)).has_value());
  id = fill_segments(*journal, id, 4);
  EXPECT_LE(oldest_number(options), held);
  journal->release(journal->stats().appended);
  nudge_until(*journal, 3'000'000, [&] { return oldest_number(options) > held; });

  // The instance still lives: its start was carried along.
  EXPECT_EQ(read_all(options.directory).instance_starts.at(5), 1);
  EXPECT_LE(journal->stats().segments, std::uint64_t{options.keep_segments} + 6);
}

TEST(Journal, AFullDiskRefusesNewWorkAndEndsTheOld) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  FaultyFileIo io(
      {.fail_at = 1, .forever = true, .error = ENOSPC, .kind = FaultyFileIo::Call::fallocate});
  io.heal();
  std::uint64_t id = 1;
  {
    auto opened = Journal::open(options, server_start(), {}, io);
    ASSERT_TRUE(opened.has_value());
    Journal& journal = **opened;
    io.arm();
    Result<Sequence> appended = journal.append(admission(id));
    while (appended) appended = journal.append(admission(++id));
    EXPECT_EQ(appended.error().code, ErrorCode::no_capacity);
    EXPECT_EQ(journal.append_synced(instance_start(1)).error().code, ErrorCode::no_capacity);
    EXPECT_GE(journal.stats().refused, 1U);
    const std::uint64_t admitted = id - 1;
    EXPECT_GT(admitted, 100U);

    // The longest endings there are: every one was promised its room.
    for (std::uint64_t i = 1; i <= admitted; ++i) {
      Usage usage = ending(i, Outcome::failed);
      usage.reason = usage.instance = usage.device = std::string(max_note_bytes, 'x');
      usage.device_ms = INT64_MIN;
      ASSERT_TRUE(journal.append(usage).has_value()) << i;
    }
    ASSERT_TRUE(journal.sync().has_value());
    EXPECT_FALSE(journal.stats().failed);

    io.heal();  // space returns, and nobody has to restart anything
    while (!journal.append(admission(id))) std::this_thread::yield();
    ASSERT_TRUE(journal.append(ending(id)).has_value());
  }
  read_all(options.directory).expect_balanced();
}

TEST(Journal, WhatIsOpenWhenADiskFillsUpIsStillEndedByTheNextStart) {
  const TempDir dir;
  const JournalOptions options = tiny_journal(dir / "journal");
  FaultyFileIo io(
      {.fail_at = 1, .forever = true, .error = ENOSPC, .kind = FaultyFileIo::Call::fallocate});
  io.heal();
  std::uint64_t id = 1;
  {
    auto opened = Journal::open(options, server_start(), {}, io);
    ASSERT_TRUE(opened.has_value());
    io.arm();
    while ((*opened)->append(admission(id))) ++id;
  }
  auto reopened = Journal::open(options, server_start(2), {}, io);  // still full
  ASSERT_TRUE(reopened.has_value()) << reopened.error().message;
  EXPECT_EQ((*reopened)->recovered().interrupted_requests, id - 1);
  read_all(options.directory).expect_balanced();
}

TEST(Journal, AFailedSyncEndsIt) {
  for (const Durability durability : {Durability::process, Durability::disk}) {
    const TempDir dir;
    JournalOptions options = tiny_journal(dir / "journal");
    options.durability = durability;
    FaultyFileIo io({.fail_at = 1, .forever = false, .kind = FaultyFileIo::Call::sync});
    io.heal();
    std::atomic<int> fatal{0};
    {
      auto opened = Journal::open(options, server_start(), [&](const Error&) { ++fatal; }, io);
      ASSERT_TRUE(opened.has_value());
      Journal& journal = **opened;
      ASSERT_TRUE(journal.append(admission(1)).has_value());
      ASSERT_TRUE(journal.sync().has_value());
      // Preparing a segment syncs, too, and may fail: nothing is promised in it yet.
      while (journal.stats().segments < 2) std::this_thread::yield();
      io.arm();
      const Result<Sequence> record = journal.append(ending(1));
      ASSERT_TRUE(record.has_value());
      EXPECT_FALSE(journal.sync().has_value());
      // The disk works again, and still nothing is believed.
      EXPECT_EQ(journal.append(admission(2)).error().code, ErrorCode::unavailable);
      EXPECT_FALSE(journal.sync().has_value());
      std::optional<bool> durable;
      journal.when_durable(*record, [&](const Result<void>& r) { durable = r.has_value(); });
      EXPECT_EQ(durable, false);
      EXPECT_TRUE(journal.stats().failed);
    }
    EXPECT_EQ(fatal, 1);
    const auto journal = must_open(options, 2);
    ASSERT_TRUE(journal);
    read_all(options.directory).expect_balanced();
  }
}

TEST(Journal, RefusesSegmentsThatCannotWork) {
  const TempDir dir;
  JournalOptions options = tiny_journal(dir / "journal");
  options.segment_size = kib(4);
  const auto opened = Journal::open(options, server_start(), {});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::invalid);
}

}  // namespace
}  // namespace stoker::ledger

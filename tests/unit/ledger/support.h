// What the tests of the ledger share: records to write, a disk that
// fails on order, and a look at everything that a journal holds.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ledger/file_io.h"
#include "ledger/journal.h"
#include "ledger/journal_reader.h"
#include "ledger/record.h"
#include "support/temp_dir.h"

namespace stoker::ledger {

inline Admission admission(std::uint64_t id, std::string deployment = "chat",
                           std::string tenant = "acme") {
  Admission a;
  a.request = {id};
  a.accepted_at = {1'700'000'000'000'000'000 + static_cast<std::int64_t>(id)};
  a.deployment = std::move(deployment);
  a.tenant = std::move(tenant);
  a.route = "chat";
  a.stream = id % 2 == 0;
  a.prices = {{1'000'000}, {100'000}, {1'000}, {2'000}};
  return a;
}

inline Usage ending(std::uint64_t id, Outcome outcome = Outcome::completed) {
  Usage u;
  u.request = {id};
  u.ended_at = {1'700'000'001'000'000'000 + static_cast<std::int64_t>(id)};
  u.outcome = outcome;
  u.status = outcome == Outcome::completed ? 200 : 502;
  u.reason = outcome == Outcome::completed ? "" : "engine_failed";
  u.start = StartKind::warm;
  u.instance = "chat/3";
  u.device = "cpu0";
  u.phases = {us(10), {}, {}, {}, {}, ms(20), ms(300)};
  u.input_tokens = 12;
  u.output_tokens = 34;
  u.usage_known = true;
  u.device_ms = 320;
  return u;
}

inline InstanceStart instance_start(std::uint64_t id) {
  return {{id}, {1}, {1}, {1'700'000'000'000'000'000}, "chat", "cpu0", "00112233445566778899"};
}
inline InstanceEnd instance_end(std::uint64_t id) {
  return {{id}, {1}, {1}, {1'700'000'002'000'000'000}, "exit 0"};
}

inline ServerStart server_start(std::uint64_t epoch = 1) {
  return {{epoch}, {1'700'000'000'000'000'000}, "fingerprint"};
}

/// Small segments, so that limits are reached in a blink.
inline JournalOptions tiny_journal(const std::filesystem::path& directory) {
  JournalOptions options;
  options.directory = directory;
  options.sync_interval = ms(1);
  options.segment_size = kib(64);
  options.keep_segments = 2;
  options.prepared_segments = 1;
  options.space_retry_interval = ms(1);
  return options;
}

/// A disk that fails on order. Thread-safe, because the journal's thread writes, too.
class FaultyFileIo final : public FileIo {
 public:
  enum class Call : std::uint8_t { any, fallocate, sync };
  struct Plan {
    std::int64_t fail_at = 0;  // the Nth call of the kind; 0: never
    bool forever = false;      // and all that follow
    int error = EIO;
    Call kind = Call::any;
    bool kill = false;  // instead of failing: SIGKILL to this process, before the call
  };
  explicit FaultyFileIo(Plan plan) : plan_(plan), armed_(plan.fail_at > 0) {}

  void heal() { armed_ = false; }
  void arm() { armed_ = true; }
  [[nodiscard]] bool tripped() const { return tripped_; }

  int open(const char* path, int flags, mode_t mode) override {
    return fails(Call::any) ? -1 : real_file_io().open(path, flags, mode);
  }
  int mkdir(const char* path, mode_t mode) override {
    return fails(Call::any) ? -1 : real_file_io().mkdir(path, mode);
  }
  ssize_t write(int fd, const void* bytes, std::size_t size) override {
    return fails(Call::any) ? -1 : real_file_io().write(fd, bytes, size);
  }
  int fallocate(int fd, off_t offset, off_t size) override {
    // A full disk refuses new blocks only.
    struct stat info{};
    if (plan_.error == ENOSPC && ::fstat(fd, &info) == 0 && info.st_blocks * 512 >= size) {
      return real_file_io().fallocate(fd, offset, size);
    }
    return fails(Call::fallocate) ? -1 : real_file_io().fallocate(fd, offset, size);
  }
  void* mmap(std::size_t size, int protection, int flags, int fd) override {
    // MAP_FAILED, spelled so that the header of mmap is not needed everywhere.
    return fails(Call::any) ? reinterpret_cast<void*>(-1)
                            : real_file_io().mmap(size, protection, flags, fd);
  }
  int fdatasync(int fd) override { return fails(Call::sync) ? -1 : real_file_io().fdatasync(fd); }
  int fsync(int fd) override { return fails(Call::sync) ? -1 : real_file_io().fsync(fd); }
  int rename(const char* from, const char* to) override {
    return fails(Call::any) ? -1 : real_file_io().rename(from, to);
  }
  int unlink(const char* path) override {
    return fails(Call::any) ? -1 : real_file_io().unlink(path);
  }

 private:
  bool fails(Call call) {
    if (!armed_ || (plan_.kind != Call::any && plan_.kind != call)) return false;
    const std::int64_t n = ++calls_;
    if (n != plan_.fail_at && !(plan_.forever && n > plan_.fail_at)) return false;
    if (plan_.kill) ::raise(SIGKILL);
    tripped_ = true;
    errno = plan_.error;
    return true;
  }

  const Plan plan_;
  std::atomic<bool> armed_;
  std::atomic<bool> tripped_{false};
  std::atomic<std::int64_t> calls_{0};
};

inline std::unique_ptr<Journal> must_open(const JournalOptions& options, std::uint64_t epoch = 1) {
  Result<std::unique_ptr<Journal>> journal = Journal::open(options, server_start(epoch), {});
  if (!journal) {
    ADD_FAILURE() << journal.error().message;
    return nullptr;
  }
  return std::move(*journal);
}

/// Everything in a journal, by kind.
struct Contents {
  std::map<std::uint64_t, int> admissions;  // id -> how many records
  std::map<std::uint64_t, std::vector<Outcome>> endings;
  std::map<std::uint64_t, int> instance_starts;
  std::map<std::uint64_t, int> instance_ends;
  std::uint64_t server_starts = 0;
  std::uint64_t records = 0;

  /// Every admission is there once and has exactly one ending.
  void expect_balanced() const {
    for (const auto& [id, count] : admissions) {
      EXPECT_EQ(count, 1) << "admissions of " << id;
      EXPECT_TRUE(endings.contains(id) && endings.at(id).size() == 1) << "endings of " << id;
    }
    EXPECT_EQ(admissions.size(), endings.size());
  }
};

inline Contents read_all(const std::filesystem::path& directory) {
  Contents contents;
  Result<JournalReader> reader = JournalReader::open(directory);
  if (!reader) {
    ADD_FAILURE() << reader.error().message;
    return contents;
  }
  JournalEntry entry;
  while (true) {
    const Result<bool> more = reader->next(entry);
    if (!more) ADD_FAILURE() << more.error().message;
    if (!more || !*more) return contents;
    ++contents.records;
    const Record& record = entry.record;
    if (const auto* a = std::get_if<Admission>(&record)) ++contents.admissions[a->request.value];
    if (const auto* u = std::get_if<Usage>(&record)) {
      contents.endings[u->request.value].push_back(u->outcome);
    }
    if (const auto* s = std::get_if<InstanceStart>(&record)) {
      ++contents.instance_starts[s->instance.value];
    }
    if (const auto* e = std::get_if<InstanceEnd>(&record)) {
      ++contents.instance_ends[e->instance.value];
    }
    if (std::holds_alternative<ServerStart>(record)) ++contents.server_starts;
  }
}

}  // namespace stoker::ledger

// What a request costs in the journal, and how fast rows follow into SQLite.
//
//   ninja -C build/release journal_bench
//   build/release/bin/journal_bench DIRECTORY          # DIRECTORY is made anew, on the disk to
//   measure strace -f -c build/release/bin/journal_bench DIRECTORY   # system calls per append
//
// A run at a request rate paces itself by the monotonic clock and measures each append; the run at
// full speed measures the copy alone. Beside them, the same frames by write(2): the floor of a
// journal that makes one system call per record. Rows are checked before they are counted.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "ledger/journal.h"
#include "ledger/sqlite/sqlite_ledger.h"

namespace {

using namespace stoker;
using namespace stoker::ledger;

std::int64_t now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

template <class T>
T must(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "journal_bench: {}\n", result.error().message);
  std::exit(1);
}
void must_do(const Result<void>& result) {
  if (result) return;
  fmt::print(stderr, "journal_bench: {}\n", result.error().message);
  std::exit(1);
}

Admission admission(std::uint64_t id) {
  Admission a;
  a.request = {id};
  a.accepted_at = {1'700'000'000'000'000'000};
  a.deployment = "chat";
  a.tenant = "acme";
  a.route = "chat";
  a.prices = {{1'000'000}, {100'000}, {1'000}, {2'000}};
  return a;
}

Usage ending(std::uint64_t id) {
  Usage u;
  u.request = {id};
  u.ended_at = {1'700'000'001'000'000'000};
  u.outcome = Outcome::completed;
  u.status = 200;
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

std::unique_ptr<Journal> open_journal(const std::filesystem::path& directory) {
  JournalOptions options;
  options.directory = directory;
  options.keep_segments = 1000;
  return must(Journal::open(options, {{1}, {}, "bench"}, [](const Error& error) {
    fmt::print(stderr, "journal_bench: {}\n", error.message);
    std::exit(1);
  }));
}

void print_line(const char* what, std::vector<std::int64_t> ns) {
  std::ranges::sort(ns);
  const auto at = [&](double share) {
    return ns[static_cast<std::size_t>(share * static_cast<double>(ns.size() - 1))];
  };
  std::int64_t sum = 0;
  for (const std::int64_t n : ns) sum += n;
  fmt::print("{:<34} mean {:>6} p50 {:>6} p99 {:>7} p99.9 {:>8} max {:>9} ns\n", what,
             sum / static_cast<std::int64_t>(ns.size()), at(0.5), at(0.99), at(0.999), at(1.0));
}

/// Pairs of records at a rate of `requests_per_second`, each append timed.
void paced(Journal& journal, std::uint64_t first_id, std::int64_t requests_per_second,
           std::int64_t run_seconds) {
  std::vector<std::int64_t> ns;
  const std::int64_t begin = now_ns();
  for (std::int64_t i = 0; i < requests_per_second * run_seconds; ++i) {
    const std::int64_t due = begin + i * 1'000'000'000 / requests_per_second;
    if (const std::int64_t wait = due - now_ns(); wait > 0) {
      const timespec pause{0, wait};
      ::nanosleep(&pause, nullptr);
    }
    const std::uint64_t id = first_id + static_cast<std::uint64_t>(i);
    const Admission a = admission(id);
    const Usage u = ending(id);
    const std::int64_t from = now_ns();
    must(journal.append(a));
    const std::int64_t between = now_ns();
    must(journal.append(u));
    ns.push_back(between - from);
    ns.push_back(now_ns() - between);
  }
  print_line(fmt::format("append, {} requests/s", requests_per_second).c_str(), std::move(ns));
}

/// As fast as one thread goes; waiting for the next segment is not counted.
std::uint64_t full_speed(Journal& journal, std::uint64_t first_id, std::uint64_t requests) {
  std::int64_t spent = 0;
  for (std::uint64_t id = first_id; id < first_id + requests;) {
    if (const JournalStats stats = journal.stats(); stats.appended.value > stats.synced.value) {
      must_do(journal.sync());
    }
    const std::int64_t from = now_ns();
    const std::uint64_t batch_end = std::min(id + 5'000, first_id + requests);
    for (; id < batch_end; ++id) {
      must(journal.append(admission(id)));
      must(journal.append(ending(id)));
    }
    spent += now_ns() - from;
  }
  const double records = 2.0 * static_cast<double>(requests);
  fmt::print("{:<34} {:.0f} ns/record, {:.2f} M records/s (records built included)\n",
             "append, full speed", static_cast<double>(spent) / records,
             records * 1e3 / static_cast<double>(spent));
  return requests;
}

void plain_writes(const std::filesystem::path& file, int writes) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const std::array<char, 96> frame{};
  const std::int64_t from = now_ns();
  for (int i = 0; i < writes; ++i) {
    if (::write(fd.get(), frame.data(), frame.size()) != static_cast<ssize_t>(frame.size())) {
      fmt::print(stderr, "journal_bench: short write\n");
      std::exit(1);
    }
  }
  fmt::print("{:<34} {:.0f} ns/record\n", "peer: write(2) of 96 bytes",
             static_cast<double>(now_ns() - from) / writes);
}

void rows(Journal& journal, const std::filesystem::path& file, std::int64_t expected) {
  const std::int64_t from = now_ns();
  const std::unique_ptr<Ledger> ledger =
      must(open_sqlite_ledger({.file = file}, journal, [](const Error& error) {
        fmt::print(stderr, "journal_bench: {}\n", error.message);
      }));
  must_do(ledger->flush());
  const double spent_s = static_cast<double>(now_ns() - from) / 1e9;
  const std::int64_t found = must(ledger->count());
  if (found != expected) {
    fmt::print(stderr, "journal_bench: {} rows, not {}\n", found, expected);
    std::exit(1);
  }
  fmt::print("{:<34} {:.0f} rows/s ({} rows in {:.2f} s)\n", "SQLite, from the journal",
             static_cast<double>(found) / spent_s, found, spent_s);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: journal_bench DIRECTORY\n");
    return 2;
  }
  const std::filesystem::path directory = argv[1];
  if (!std::filesystem::create_directory(directory)) {
    fmt::print(stderr, "journal_bench: {} is there already\n", directory.native());
    return 2;
  }
  plain_writes(directory / "plain", 200'000);
  std::int64_t requests = 0;
  {
    const std::unique_ptr<Journal> journal = open_journal(directory / "journal");
    for (const std::int64_t rate : {100, 2'000, 10'000}) {
      paced(*journal, static_cast<std::uint64_t>(requests) + 1, rate, 3);
      requests += rate * 3;
    }
    requests += static_cast<std::int64_t>(
        full_speed(*journal, static_cast<std::uint64_t>(requests) + 1, 200'000));
    must_do(journal->sync());
    rows(*journal, directory / "ledger.db", requests);
  }
  std::filesystem::remove_all(directory);
  return 0;
}

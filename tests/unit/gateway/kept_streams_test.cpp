// What is kept of streams, for how long, and what goes when memory is short.
#include "gateway/kept_streams.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "test_keys.h"

namespace stoker::gateway {
namespace {

using Attach = KeptStreams::Attach;
using Taken = KeptStreams::Taken;
using ::testing::ElementsAre;

struct Reader final : KeptReader {
  void on_news(const net::EventLoop*) override { ++news; }
  void on_passing(std::string_view bytes, const net::EventLoop*) override { passed += bytes; }
  void on_replaced() override { ++replaced; }
  int news = 0;
  int replaced = 0;
  std::string passed;
};

struct Writer final : KeptWriter {
  void on_taken() override { ++taken; }
  void on_reader_left(std::uint64_t absence) override { absences.push_back(absence); }
  void on_lost() override { ++lost; }
  int taken = 0;
  int lost = 0;
  std::vector<std::uint64_t> absences;
};

struct Stream {
  std::shared_ptr<Writer> writer = std::make_shared<Writer>();
  std::shared_ptr<Reader> reader = std::make_shared<Reader>();
  KeptStreamPtr kept;
};

access::Key key_of(std::uint64_t tenant, std::vector<std::string> deployments = {}) {
  access::Key key;
  key.tenant = TenantId{tenant};
  key.deployments = std::move(deployments);
  return key;
}

Stream begin(KeptStreams& streams, std::uint64_t request, std::uint64_t tenant = 1) {
  Stream stream;
  stream.kept =
      streams.begin({RequestId{request}, TenantId{tenant}, "chat"}, stream.writer, stream.reader);
  return stream;
}

/// Everything that there is to take, and how it stands then.
std::pair<std::string, Taken> drain(KeptStreams& streams, const KeptStreamPtr& stream,
                                    const KeptReader& reader) {
  std::string all;
  while (true) {
    std::string out;
    const Taken taken = streams.take(*stream, reader, 1, out);
    all += out;
    if (taken != Taken::some) return {all, taken};
  }
}

void append(KeptStreams& streams, const Stream& stream, std::string_view letters) {
  for (const char letter : letters) {
    ASSERT_TRUE(streams.append(*stream.kept, std::string(1, letter)));
  }
}

TEST(KeptStreams, GivesEachEventOnceAndThenTheEnd) {
  KeptStreams streams;
  const Stream s = begin(streams, 1);
  append(streams, s, "abc");
  EXPECT_EQ(drain(streams, s.kept, *s.reader), std::pair(std::string("abc"), Taken::all));
  append(streams, s, "d");
  streams.announce(*s.kept, nullptr);
  EXPECT_EQ(s.reader->news, 1);
  streams.end(*s.kept, true, "rest", nullptr);
  EXPECT_EQ(s.reader->news, 2);
  EXPECT_EQ(drain(streams, s.kept, *s.reader), std::pair(std::string("drest"), Taken::end));
  EXPECT_EQ(drain(streams, s.kept, *s.reader), std::pair(std::string(), Taken::cut)) << "it left";
  EXPECT_TRUE(s.writer->absences.empty()) << "after the end nobody is waited for";
}

TEST(KeptStreams, AnotherReaderGoesOnWhereHeWishes) {
  KeptStreams streams;
  const Stream s = begin(streams, 1);
  append(streams, s, "abc");
  drain(streams, s.kept, *s.reader);
  const auto next = std::make_shared<Reader>();
  const auto attached = streams.attach(RequestId{1}, key_of(1), 1, next);
  EXPECT_EQ(attached.how, Attach::attached);
  EXPECT_EQ(s.reader->replaced, 1);
  EXPECT_EQ(drain(streams, s.kept, *s.reader).second, Taken::cut) << "one reads at a time";
  streams.detach(*s.kept, *s.reader);
  EXPECT_TRUE(s.writer->absences.empty()) << "there is another one";
  EXPECT_EQ(drain(streams, attached.stream, *next).first, "bc");
  append(streams, s, "d");
  EXPECT_EQ(drain(streams, attached.stream, *next).first, "d");
  streams.end(*s.kept, false, {}, nullptr);
  EXPECT_EQ(drain(streams, attached.stream, *next).second, Taken::cut) << "it broke off";
}

TEST(KeptStreams, AreOnlyForTheirTenantAndKeysThatMayUseTheDeployment) {
  KeptStreams streams;
  const Stream s = begin(streams, 1);
  append(streams, s, "abc");
  const auto how = [&](const access::Key& key, std::uint64_t request, std::uint64_t last) {
    return streams.attach(RequestId{request}, key, last, nullptr).how;
  };
  EXPECT_EQ(how(key_of(1), 1, 0), Attach::attached);
  EXPECT_EQ(how(key_of(1, {"chat"}), 1, 3), Attach::attached);
  EXPECT_EQ(how(key_of(2), 1, 0), Attach::unknown);
  EXPECT_EQ(how(key_of(1, {"other"}), 1, 0), Attach::unknown);
  EXPECT_EQ(how(key_of(1), 2, 0), Attach::unknown);
  EXPECT_EQ(how(key_of(1), 1, 4), Attach::ahead);
  EXPECT_EQ(how(key_of(1), 1, UINT64_MAX), Attach::ahead);
  EXPECT_EQ(s.reader->replaced, 0) << "to ask changes nothing";
  streams.end(*s.kept, true, {}, nullptr);
  EXPECT_EQ(how(key_of(1), 1, 2), Attach::attached);
  EXPECT_EQ(how(key_of(1), 1, 3), Attach::nothing_left);
  EXPECT_EQ(how(key_of(2), 1, 3), Attach::unknown);
}

TEST(KeptStreams, WhoDoesNotComeBackInTimeIsWaitedForNoMore) {
  KeptStreams streams;
  const Stream s = begin(streams, 1);
  append(streams, s, "ab");
  streams.detach(*s.kept, *s.reader);
  ASSERT_EQ(s.writer->absences.size(), 1U);
  const std::uint64_t first = s.writer->absences[0];
  const auto next = std::make_shared<Reader>();
  EXPECT_EQ(streams.attach(RequestId{1}, key_of(1), 0, next).how, Attach::attached);
  EXPECT_FALSE(streams.abandon(*s.kept, first)) << "somebody reads";
  streams.detach(*s.kept, *next);
  EXPECT_FALSE(streams.abandon(*s.kept, first)) << "another absence, that has just begun";
  EXPECT_TRUE(streams.abandon(*s.kept, s.writer->absences.at(1)));
  EXPECT_EQ(s.writer->lost, 0) << "who asks need not be told";
  EXPECT_FALSE(streams.append(*s.kept, "c"));
  EXPECT_EQ(streams.attach(RequestId{1}, key_of(1), 0, next).how, Attach::gone);
  EXPECT_EQ(streams.bytes(), 0U);
}

TEST(KeptStreams, AreKeptForATimeAfterTheirEnd) {
  KeptStreams streams;
  const Stream s = begin(streams, 1);
  append(streams, s, "ab");
  streams.end(*s.kept, true, {}, nullptr);
  EXPECT_FALSE(streams.expire(*s.kept)) << "its reader is not through yet";
  drain(streams, s.kept, *s.reader);
  EXPECT_EQ(streams.attach(RequestId{1}, key_of(1), 1, nullptr).how, Attach::attached);
  EXPECT_TRUE(streams.expire(*s.kept));
  EXPECT_EQ(streams.attach(RequestId{1}, key_of(1), 1, nullptr).how, Attach::gone);
  EXPECT_EQ(streams.bytes(), 0U);
}

TEST(KeptStreams, AWriterWaitsForASlowReaderAndForNobodyElse) {
  KeptStreams streams;
  const Stream s = begin(streams, 1);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(streams.append(*s.kept, std::string(100, 'x')));
  EXPECT_EQ(streams.untaken_bytes(*s.kept, 200), 4 * 164U);
  std::string out;
  EXPECT_EQ(streams.take(*s.kept, *s.reader, 150, out), Taken::some);
  EXPECT_EQ(out.size(), 200U) << "whole events";
  EXPECT_EQ(s.writer->taken, 0);
  EXPECT_EQ(streams.take(*s.kept, *s.reader, 250, out), Taken::some);
  EXPECT_EQ(s.writer->taken, 1) << "164 are left";
  EXPECT_EQ(streams.take(*s.kept, *s.reader, 350, out), Taken::all);
  EXPECT_EQ(s.writer->taken, 1) << "once";
  ASSERT_TRUE(streams.append(*s.kept, "x"));
  streams.detach(*s.kept, *s.reader);
  EXPECT_EQ(streams.untaken_bytes(*s.kept, 0), 0U) << "without a reader";
  const auto next = std::make_shared<Reader>();
  EXPECT_EQ(streams.attach(RequestId{1}, key_of(1), 1, next).how, Attach::attached);
  EXPECT_EQ(streams.untaken_bytes(*s.kept, 0), 3 * 164 + 65U) << "he wants some of it again";
}

TEST(KeptStreams, WhatPassesIsForWhoHasReadEverything) {
  KeptStreams streams;
  const Stream s = begin(streams, 1);
  streams.pass(*s.kept, "p", nullptr);
  append(streams, s, "a");
  streams.pass(*s.kept, "q", nullptr);
  drain(streams, s.kept, *s.reader);
  streams.pass(*s.kept, "r", nullptr);
  EXPECT_EQ(s.reader->passed, "pr");
  streams.detach(*s.kept, *s.reader);
  streams.pass(*s.kept, "s", nullptr);
  EXPECT_EQ(s.reader->passed, "pr");
}

// A stream costs 1,024 bytes, an event 64 and its own.
constexpr std::size_t event = 64 + 1;

TEST(KeptStreams, OfALongStreamTheOldestThatWasReadGoes) {
  KeptStreams streams({.stream_bytes = 1024 + 3 * event, .total_bytes = 1 << 20});
  const Stream s = begin(streams, 1);
  append(streams, s, "abc");
  drain(streams, s.kept, *s.reader);
  append(streams, s, "d");
  EXPECT_EQ(streams.attach(RequestId{1}, key_of(1), 0, nullptr).how, Attach::gone);
  EXPECT_EQ(streams.attach(RequestId{1}, key_of(1), 1, nullptr).how, Attach::attached);
  EXPECT_EQ(drain(streams, s.kept, *s.reader).first, "d");
  streams.detach(*s.kept, *s.reader);
  append(streams, s, "efg");
  EXPECT_EQ(s.writer->lost, 0);
  EXPECT_FALSE(streams.append(*s.kept, "h")) << "nobody has had 'e' yet";
  EXPECT_EQ(s.writer->lost, 1);
  EXPECT_EQ(streams.attach(RequestId{1}, key_of(1), 4, nullptr).how, Attach::gone);
}

TEST(KeptStreams, AnEventThatIsTooLargeEndsItsStream) {
  KeptStreams streams({.stream_bytes = 2048, .total_bytes = 1 << 20});
  const Stream s = begin(streams, 1);
  append(streams, s, "a");
  EXPECT_FALSE(streams.append(*s.kept, std::string(2048, 'x')));
  EXPECT_EQ(s.writer->lost, 1);
  EXPECT_EQ(s.reader->news, 1);
  EXPECT_EQ(drain(streams, s.kept, *s.reader).second, Taken::cut);
}

TEST(KeptStreams, WhereAllIsFullWhatHasEndedGoesFirstAndThenWhoeverIsAlone) {
  KeptStreams streams({.stream_bytes = 1 << 20, .total_bytes = 3 * 1024 + 6 * event});
  const Stream ended = begin(streams, 1);
  const Stream alone = begin(streams, 2);
  const Stream read = begin(streams, 3);
  append(streams, ended, "ab");
  append(streams, alone, "ab");
  append(streams, read, "ab");
  drain(streams, read.kept, *read.reader);
  streams.detach(*alone.kept, *alone.reader);
  streams.end(*ended.kept, true, {}, nullptr);
  const auto how = [&](std::uint64_t request) {
    return streams.attach(RequestId{request}, key_of(1), 0, nullptr).how;
  };
  append(streams, read, "c");
  EXPECT_EQ(how(1), Attach::gone);
  EXPECT_EQ(how(2), Attach::attached);
  EXPECT_EQ(how(3), Attach::attached);
  append(streams, read, std::string(16, 'x'));  // what the first one held is used up
  EXPECT_EQ(how(3), Attach::attached);
  append(streams, read, "y");
  EXPECT_EQ(how(3), Attach::gone) << "the first of its events, which its reader has had";
  EXPECT_EQ(how(2), Attach::attached);
  append(streams, read, "yz");
  EXPECT_EQ(how(2), Attach::gone) << "nobody reads it";
  EXPECT_EQ(alone.writer->lost, 1);
  EXPECT_EQ(read.writer->lost, 0);
}

TEST(KeptStreams, WithoutRoomForOneMoreThereIsNone) {
  KeptStreams streams({.stream_bytes = 1 << 20, .total_bytes = 2 * 1024});
  const Stream one = begin(streams, 1);
  const Stream two = begin(streams, 2);
  EXPECT_EQ(begin(streams, 3).kept, nullptr);
  streams.end(*one.kept, true, {}, nullptr);
  EXPECT_NE(begin(streams, 4).kept, nullptr);
  EXPECT_EQ(two.writer->lost, 0);
}

TEST(KeptStreams, OnlySoManyThatAreGoneAreRemembered) {
  KeptStreams streams({.stream_bytes = 1 << 20, .total_bytes = 1 << 20, .remembered = 2});
  for (std::uint64_t id = 1; id <= 3; ++id) {
    const Stream s = begin(streams, id);
    streams.end(*s.kept, true, {}, nullptr);
    drain(streams, s.kept, *s.reader);
    EXPECT_TRUE(streams.expire(*s.kept));
  }
  EXPECT_EQ(streams.attach(RequestId{1}, key_of(1), 0, nullptr).how, Attach::unknown);
  EXPECT_EQ(streams.attach(RequestId{2}, key_of(1), 0, nullptr).how, Attach::gone);
}

/// Whatever happens, the bound holds, and every reader gets consecutive events.
TEST(KeptStreams, NeverHoldMoreThanTheyMayNorGiveAGap) {
  EXPECT_TRUE(rc::check([] {
    const KeptStreamLimits limits{.stream_bytes = 3000, .total_bytes = 8000, .remembered = 3};
    KeptStreams streams(limits);
    struct Seen {
      Stream stream;
      std::shared_ptr<Reader> reader;  // null: nobody reads
      std::uint64_t written = 0;
      std::uint64_t seen = 0;
      bool over = false;
    };
    std::vector<Seen> all;
    const int steps = *rc::gen::inRange(1, 150);
    for (int i = 0; i < steps; ++i) {
      const int what = *rc::gen::inRange(0, 8);
      if (what == 0 || all.empty()) {
        Seen one;
        one.stream = begin(streams, all.size() + 1);
        one.reader = one.stream.reader;
        if (one.stream.kept) all.push_back(one);
        continue;
      }
      Seen& one = all[*rc::gen::inRange<std::size_t>(0, all.size())];
      KeptStream& kept = *one.stream.kept;
      if (what <= 3 && !one.over) {
        const auto size = *rc::gen::inRange<std::size_t>(0, 900);
        if (streams.append(kept,
                           std::to_string(one.written + 1) + " " + std::string(size, 'x') + ";")) {
          ++one.written;
        } else {
          one.over = true;
        }
      } else if (what == 4 && one.reader) {
        std::string out;
        static_cast<void>(streams.take(kept, *one.reader, 500, out));
        for (std::size_t at = 0; at < out.size(); at = out.find(';', at) + 1) {
          RC_ASSERT(std::stoull(out.substr(at)) == ++one.seen);
        }
      } else if (what == 5 && one.reader) {
        streams.detach(kept, *one.reader);
        one.reader = nullptr;
      } else if (what == 6) {
        const auto back = *rc::gen::inRange<std::uint64_t>(0, one.seen + 1);
        const auto reader = std::make_shared<Reader>();
        const RequestId id{static_cast<std::uint64_t>(&one - all.data()) + 1};
        if (streams.attach(id, key_of(1), back, reader).how == Attach::attached) {
          one.reader = reader;
          one.seen = back;
        }
      } else if (what == 7) {
        streams.end(kept, true, {}, nullptr);
        one.over = true;
      }
      RC_ASSERT(streams.bytes() <= limits.total_bytes);
    }
  }));
}

}  // namespace
}  // namespace stoker::gateway

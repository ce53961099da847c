#include "ledger/codec.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "ledger/frame.h"
#include "support.h"

namespace stoker::ledger {
namespace {

std::string text_up_to(std::size_t most) {
  return *rc::gen::container<std::string>(*rc::gen::inRange<std::size_t>(0, most + 1),
                                          rc::gen::arbitrary<char>());
}
template <class Number>
Number any() {
  return *rc::gen::arbitrary<Number>();
}

Admission any_admission() {
  Admission r;
  r.request.value = any<std::uint64_t>();
  r.accepted_at.ns = any<std::int64_t>();
  r.deployment = text_up_to(max_name_bytes);
  r.tenant = text_up_to(max_name_bytes);
  r.route = text_up_to(max_name_bytes);
  r.stream = any<bool>();
  r.priority = any<std::int32_t>();
  r.prices = {
      {any<std::int64_t>()}, {any<std::int64_t>()}, {any<std::int64_t>()}, {any<std::int64_t>()}};
  return r;
}

Usage any_usage() {
  Usage r;
  r.request.value = any<std::uint64_t>();
  r.ended_at.ns = any<std::int64_t>();
  r.outcome = static_cast<Outcome>(*rc::gen::inRange(0, 6));
  r.status = any<std::int32_t>();
  r.reason = text_up_to(max_note_bytes);
  r.start = static_cast<StartKind>(*rc::gen::inRange(0, 4));
  r.instance = text_up_to(max_note_bytes);
  r.device = text_up_to(max_note_bytes);
  for (Duration* phase : {&r.phases.queue, &r.phases.allocate, &r.phases.start, &r.phases.load,
                          &r.phases.warmup, &r.phases.ttft, &r.phases.generate}) {
    phase->ns = any<std::int64_t>();
  }
  r.input_tokens = any<std::int64_t>();
  r.output_tokens = any<std::int64_t>();
  r.cached_tokens = any<std::int64_t>();
  r.usage_known = any<bool>();
  r.device_ms = any<std::int64_t>();
  return r;
}

std::string bytes_of(const Payload& payload) {
  return {reinterpret_cast<const char*>(payload.bytes.data()), payload.size};
}

std::optional<Record> decode(const Payload& payload) {
  return ledger::decode(static_cast<std::uint8_t>(payload.type), record_version, payload.view());
}

/// Decoding and encoding again gives the same bytes: no field is lost, swapped or cut.
template <class R>
void expect_round_trip(const R& record) {
  Payload first;
  if constexpr (std::is_void_v<decltype(encode(record, first))>) {
    encode(record, first);
  } else {
    RC_ASSERT(encode(record, first).has_value());
  }
  const std::optional<Record> decoded = decode(first);
  RC_ASSERT(decoded.has_value());
  RC_ASSERT(std::holds_alternative<R>(*decoded));
  Payload second;
  static_cast<void>(encode(std::get<R>(*decoded), second));
  RC_ASSERT(bytes_of(first) == bytes_of(second));
  RC_ASSERT(first.type == second.type);
}

RC_GTEST_PROP(Codec, AdmissionsComeBack, ()) {
  expect_round_trip(any_admission());
}
RC_GTEST_PROP(Codec, EndingsComeBack, ()) {
  expect_round_trip(any_usage());
}
RC_GTEST_PROP(Codec, InstancesComeBack, ()) {
  expect_round_trip(InstanceStart{{any<std::uint64_t>()},
                                  {any<std::uint64_t>()},
                                  {any<std::uint64_t>()},
                                  {any<std::int64_t>()},
                                  text_up_to(max_name_bytes),
                                  text_up_to(max_name_bytes),
                                  text_up_to(max_name_bytes)});
  expect_round_trip(InstanceEnd{{any<std::uint64_t>()},
                                {any<std::uint64_t>()},
                                {any<std::uint64_t>()},
                                {any<std::int64_t>()},
                                text_up_to(max_note_bytes)});
  expect_round_trip(
      ServerStart{{any<std::uint64_t>()}, {any<std::int64_t>()}, text_up_to(max_name_bytes)});
}

TEST(Codec, KeepsEveryField) {
  // The round trip above would not see two fields swapped on both ways.
  Payload payload;
  encode(ending(77, Outcome::cancelled), payload);
  const std::optional<Record> record = decode(payload);
  ASSERT_TRUE(record.has_value());
  const Usage& u = std::get<Usage>(*record);
  EXPECT_EQ(u.request.value, 77U);
  EXPECT_EQ(u.outcome, Outcome::cancelled);
  EXPECT_EQ(u.status, 502);
  EXPECT_EQ(u.reason, "engine_failed");
  EXPECT_EQ(u.instance, "chat/3");
  EXPECT_EQ(u.device, "cpu0");
  EXPECT_EQ(u.phases.queue, us(10));
  EXPECT_EQ(u.phases.ttft, ms(20));
  EXPECT_EQ(u.phases.generate, ms(300));
  EXPECT_EQ(u.input_tokens, 12);
  EXPECT_EQ(u.output_tokens, 34);
  EXPECT_EQ(u.device_ms, 320);

  ASSERT_TRUE(encode(admission(78, "chat", "acme"), payload).has_value());
  const std::optional<Record> second = decode(payload);
  ASSERT_TRUE(second.has_value());
  const Admission& a = std::get<Admission>(*second);
  EXPECT_EQ(a.deployment, "chat");
  EXPECT_EQ(a.tenant, "acme");
  EXPECT_EQ(a.prices.per_request.value, 1'000'000);
  EXPECT_EQ(a.prices.per_1k_output_tokens.value, 2'000);
}

TEST(Codec, CutsNotesAndRefusesNames) {
  Usage usage = ending(1);
  usage.reason = std::string(5000, 'r');
  Payload payload;
  encode(usage, payload);
  EXPECT_EQ(std::get<Usage>(*decode(payload)).reason.size(), max_note_bytes);

  const Result<void> encoded = encode(admission(1, "chat", std::string(256, 't')), payload);
  ASSERT_FALSE(encoded.has_value());
  EXPECT_EQ(encoded.error().code, ErrorCode::invalid);
}

RC_GTEST_PROP(Codec, AnyBytesGiveARecordOrNothing,
              (std::uint8_t type, const std::vector<std::uint8_t>& bytes)) {
  const std::span<const std::byte> view = std::as_bytes(std::span(bytes));
  static_cast<void>(ledger::decode(type % 8, record_version, view));
  static_cast<void>(read_frame(view, 1));
  static_cast<void>(read_segment_header(view));
  static_cast<void>(read_sync_mark(view, 1));
}

TEST(Codec, EveryPrefixOfARecordIsRefused) {
  Payload payload;
  encode(ending(1), payload);
  for (std::size_t size = 0; size < payload.size; ++size) {
    EXPECT_FALSE(ledger::decode(3, record_version, payload.view().first(size)).has_value()) << size;
  }
}

TEST(Frame, EveryFlippedBitIsSeen) {
  Payload payload;
  ASSERT_TRUE(encode(server_start(), payload).has_value());
  std::vector<std::byte> bytes(frame_bytes(payload.size));
  write_frame(bytes.data(), 7, 42, payload);
  ASSERT_TRUE(read_frame(bytes, 7).has_value());
  EXPECT_EQ(read_frame(bytes, 7)->sequence, 42U);
  EXPECT_FALSE(read_frame(bytes, 8).has_value()) << "another segment's frame";
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::vector<std::byte> flipped = bytes;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EXPECT_FALSE(read_frame(flipped, 7).has_value()) << "bit " << bit;
  }
}

}  // namespace
}  // namespace stoker::ledger

// The receipt of one request: where its time went, as consecutive intervals that tile accept ..
// last byte exactly. Pure: a timeline in, phases and texts out.
#pragma once

#include <string>

#include "gateway/dispatcher.h"
#include "ledger/record.h"

namespace stoker::gateway {

/// What happened when. An Instant of {0} has not happened; later ones are then {0} too.
struct Timeline {
  Instant accepted;     // first byte of the request
  Instant dispatched;   // an instance was ready for it (the last dispatch that was delivered)
  Instant first_byte;   // first event of a stream, head of any other answer
  Instant ended;        // last byte, or the moment that the end was decided
  StartTimeline start;  // of the instance; {} if it never ran
};

/// The start of the instance, clipped to the request's own wait; what is left of the wait is queue.
/// Gives: phases with total() == ended - accepted, none negative, whatever the input.
[[nodiscard]] ledger::Phases phases_of(const Timeline& timeline);

/// cold: the instance became ready after the request came, so that the request waited for a start.
[[nodiscard]] ledger::StartKind start_kind(const Timeline& timeline);

/// Value of the field Server-Timing in ms: "queue;dur=0.051, allocate;dur=0.000, ...". Rounded at
/// the borders of the phases, so that what is printed adds up. `whole` adds generate and total;
/// without it (the head of a stream) the list ends with ttft.
void add_server_timing(std::string& text, const ledger::Phases& phases, bool whole);

/// "{"request": ..., "deployment": ..., "start": "cold", "phases_ms": {...}, "usage": {...}}" in
/// one line.
[[nodiscard]] std::string receipt_json(std::string_view deployment, const ledger::Usage& usage);

}  // namespace stoker::gateway

// One ledger row as the JSON of GET /api/v1/requests/{id}: the whole receipt.
#pragma once

#include <string_view>

#include "base/json_writer.h"
#include "ledger/ledger.h"

namespace stoker::orchestrator {

/// Units: durations in ms with three decimals, amounts as decimal text of the currency.
void write_request(JsonWriter& json, const ledger::RequestRow& row, std::string_view currency);

}  // namespace stoker::orchestrator

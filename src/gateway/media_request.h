// Requests of the routes for audio and images: which model they name. The body is a form, JSON, or
// the bytes of the medium itself; a model that it does not name may stand beside it, in the query
// or in a field of the head. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "gateway/api_error.h"
#include "gateway/json_reader.h"
#include "net/http.h"

namespace stoker::gateway {

/// Reads what the gateway must know. What the body says goes before the query parameter `model`,
/// and that before the field X-Stoker-Model.
/// Errors: 400 for a malformed form, a field that is there twice, or no model at all.
[[nodiscard]] std::optional<ApiError> read_media_request(const net::HttpRequest& request,
                                                         JsonReader& json, BodyFacts& facts);

/// The form `body` with another model.
/// Needs:   facts.model_in_form is a view into `body`.
[[nodiscard]] std::string with_model(std::string_view body, const BodyFacts& facts,
                                     std::string_view model);

}  // namespace stoker::gateway

#include "gateway/media_request.h"

#include <fmt/format.h>
#include <simdjson.h>

#include "gateway/forwarding.h"
#include "net/multipart.h"

namespace stoker::gateway {
namespace {

ApiError bad_request(const char* code, std::string message, const char* param = "") {
  return {400, code, std::move(message), param, {}};
}

/// The one plain field of that name.
struct FormField {
  std::optional<std::string_view> text;
  bool twice = false;
};
FormField field_of(const std::vector<net::FormPart>& parts, std::string_view name) {
  FormField found;
  for (const net::FormPart& part : parts) {
    if (part.name != name) continue;
    found.twice = found.twice || found.text.has_value();
    found.text = part.content;
  }
  return found;
}

std::optional<ApiError> read_form(std::string_view body, std::string_view boundary,
                                  BodyFacts& facts) {
  const auto parts = net::parse_form(body, boundary);
  if (!parts) return bad_request("invalid_form", "the multipart/form-data body is malformed");
  const FormField model = field_of(*parts, "model");
  const FormField stream = field_of(*parts, "stream");
  for (const auto& [name, field] : {std::pair{"model", model}, {"stream", stream}}) {
    if (field.twice) {
      return bad_request("duplicate_key", fmt::format("'{}' is given twice", name), name);
    }
  }
  facts.stream = stream.text == "true";
  if (!model.text) return std::nullopt;
  if (model.text->empty() || !simdjson::validate_utf8(*model.text)) {
    return bad_request("invalid_type", "'model' must be a string that is not empty", "model");
  }
  facts.model = *model.text;
  facts.model_in_form = *model.text;
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> read_media_request(const net::HttpRequest& request, JsonReader& json,
                                           BodyFacts& facts) {
  const std::string_view type = request.fields.find("content-type").value_or(std::string_view{});
  if (is_json(type)) {
    std::optional<ApiError> error = json.read_request(request.body, facts);
    if (error && error->code != "missing_field") return error;
  } else if (is_form(type)) {
    const std::optional<std::string> boundary = net::form_boundary(type);
    if (!boundary) return bad_request("invalid_form", "the form has no usable boundary");
    if (auto error = read_form(request.body, *boundary, facts)) return error;
  }
  if (facts.model.empty()) {
    facts.model = net::query_value(request.query, "model").value_or(std::string{});
  }
  if (facts.model.empty()) {
    facts.model = request.fields.find("x-stoker-model").value_or(std::string_view{});
  }
  if (!facts.model.empty()) return std::nullopt;
  return bad_request("missing_field",
                     "name the 'model' in the form or JSON, in the query, or in X-Stoker-Model",
                     "model");
}

std::string with_model(std::string_view body, const BodyFacts& facts, std::string_view model) {
  const auto at = static_cast<std::size_t>(facts.model_in_form.data() - body.data());
  return std::string(body.substr(0, at))
      .append(model)
      .append(body.substr(at + facts.model_in_form.size()));
}

}  // namespace stoker::gateway

// Bodies of requests and answers, as clients and engines send them: what is accepted is the same
// after it was rewritten, and what Ollama's dialect becomes is a request that is accepted.
#include <string>

#include "gateway/json_reader.h"
#include "gateway/ollama_answer.h"
#include "gateway/ollama_request.h"
#include "pieces.h"

namespace {

using namespace stoker;
using namespace stoker::gateway;

void read_as_request(JsonReader& reader, std::string_view body) {
  BodyFacts facts;
  if (reader.read_request(body, facts)) return;
  fuzz::require(!facts.model.empty(), "what is accepted names its model");
  fuzz::require(!reader.check_object(body), "what is accepted is an object");
  fuzz::require(!reader.read_request(body, facts = {}), "accepted again");
  static_cast<void>(reader.affinity(TenantId{1}));
  const std::string changed = reader.rewrite(
      body, {.add_include_usage = facts.stream, .model = "other", .cache_salt = "stoker-1"});
  BodyFacts after;
  fuzz::require(!reader.read_request(changed, after), "accepted after it was rewritten");
  fuzz::require(after.model == "other", "the new model");
  fuzz::require(after.stream == facts.stream && after.choices == facts.choices &&
                    after.most_output == facts.most_output,
                "the rest as it was");
  fuzz::require(!facts.stream || after.wants_usage, "usage is asked for");
}

void read_as_answer(JsonReader& reader, std::string_view json) {
  static_cast<void>(reader.error_message(json));
  const bool extra = reader.is_usage_event(json);
  const std::optional<WorkerUsage> usage = reader.engine_usage(json);
  if (usage) {
    fuzz::require(usage->input_tokens >= 0 && usage->output_tokens >= 0, "no negative counts");
  }
  if (!usage && !extra) return;
  const std::string without = reader.without_usage(json);
  fuzz::require(!reader.is_usage_event(without), "without usage there is no usage event");
}

void read_as_ollama(JsonReader& reader, std::string_view body) {
  for (const Route route : {Route::ollama_chat, Route::ollama_generate, Route::ollama_embed}) {
    const auto translated = translate_ollama(route, body);
    if (!translated || translated->body.empty()) continue;
    BodyFacts facts;
    fuzz::require(!reader.read_request(translated->body, facts), "a translation is accepted");
    fuzz::require(facts.model == translated->facts.model, "and names the same model");
  }
  static_cast<void>(parse_keep_alive(body));
  OllamaAnswer answer(Route::ollama_chat, "m");
  std::string lines;
  if (answer.add_event(body, lines)) {
    fuzz::require(lines.empty() || lines.ends_with('\n'), "whole lines");
  }
  static_cast<void>(answer.whole(body, {}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static JsonReader reader;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  read_as_request(reader, bytes);
  read_as_answer(reader, bytes);
  read_as_ollama(reader, bytes);
  static_cast<void>(parse_worker_usage(bytes));
  return 0;
}

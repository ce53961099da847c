// stoker_embed_openapi SOURCE.yaml TARGET.cpp: the document as JSON, as the bytes of an array. Runs
// while building, so that a document that cannot be read is an error of the build.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "config/problem.h"
#include "config/yaml_tree.h"

namespace {

using stoker::config::Problem;

std::optional<std::string> read_as_json(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::vector<Problem> problems;
  std::optional<std::string> json;
  if (const auto tree = stoker::config::parse_yaml(text, file, problems)) {
    json = stoker::config::to_json(*tree, file, {}, problems);
  }
  for (const Problem& each : problems) {
    fmt::print(stderr, "{}\n", stoker::config::to_text(each));
  }
  return in && !text.empty() && problems.empty() ? json : std::nullopt;
}

std::string as_source(const std::string& json) {
  constexpr std::size_t bytes_a_line = 32;
  std::string source =
      "#include \"openapi/document_bytes.h\"\n\n"
      "namespace stoker::openapi {\n"
      "const std::uint8_t document_bytes[] = {";
  for (std::size_t i = 0; i < json.size(); ++i) {
    source += i % bytes_a_line == 0 ? "\n" : "";
    source += fmt::format("{},", static_cast<unsigned char>(json[i]));
  }
  source += fmt::format(
      "\n}};\nconst std::size_t document_size = {};\n}}  // namespace stoker::openapi\n",
      json.size());
  return source;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: {} SOURCE.yaml TARGET.cpp\n", argv[0]);
    return 2;
  }
  const std::optional<std::string> json = read_as_json(argv[1]);
  if (!json) return 1;
  std::ofstream out(argv[2], std::ios::binary | std::ios::trunc);
  out << as_source(*json);
  out.close();
  if (out) return 0;
  fmt::print(stderr, "{}: cannot be written\n", argv[2]);
  return 1;
}

#include "config/yaml_tree.h"

#include <fmt/format.h>
#include <simdjson.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <sstream>

#include "base/json_writer.h"

namespace stoker::config {
namespace {

Place place_of(const YAML::Mark& mark) {
  return mark.is_null() ? Place{} : Place{mark.line + 1, mark.column + 1};
}

Problem error_at(std::string_view file, Place place, std::string message, std::string hint = {}) {
  Problem problem;
  problem.file = file;
  problem.line = place.line;
  problem.column = place.column;
  problem.message = std::move(message);
  problem.hint = std::move(hint);
  return problem;
}

/// Ends parsing at once. Caught in parse_yaml and nowhere else.
struct Refused {
  Problem problem;
};

/// Builds the tree from the library's events. A node under construction is on the stack by value,
/// so that growing vectors move nothing that is pointed to.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view file, std::vector<Problem>& problems)
      : file_(file), problems_(problems) {}

  [[nodiscard]] YamlNode take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) refuse(mark, "a second document begins here", "one file, one document");
  }
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    refuse(mark, fmt::format("anchor '&{}': anchors are not supported", name), "repeat the value");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "aliases ('*name') are not supported", "repeat the value, or quote the text");
  }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (expects_key()) refuse(mark, "a key is missing", "write 'key: value'");
    YamlNode node;
    node.place = place_of(mark);
    attach(std::move(node));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    refuse_tag(mark, tag);
    if (expects_key()) {
      begin_entry(mark, value);
      return;
    }
    YamlNode node;
    node.kind = YamlNode::Kind::scalar;
    node.place = place_of(mark);
    node.quoted = tag == "!";  // the library's mark of a scalar that is not plain
    node.text = value;
    attach(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, YamlNode::Kind::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, YamlNode::Kind::map);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlNode node;
    std::optional<YamlEntry> entry;     // of a map: its key has been read, its value has not
    bool is_repeated = false;           // the key of `entry`
    std::map<std::string, Place> keys;  // of a map, where first seen
  };

  [[noreturn]] void refuse(const YAML::Mark& mark, std::string message, std::string hint) {
    throw Refused{error_at(file_, place_of(mark), std::move(message), std::move(hint))};
  }
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    refuse(mark, fmt::format("tag '{}': tags are not supported", tag),
           "quote the value to keep it text");
  }
  [[nodiscard]] bool expects_key() const {
    return !stack_.empty() && stack_.back().node.kind == YamlNode::Kind::map &&
           !stack_.back().entry;
  }
  void begin_entry(const YAML::Mark& mark, const std::string& key) {
    Frame& frame = stack_.back();
    const Place place = place_of(mark);
    const auto [first, fresh] = frame.keys.try_emplace(key, place);
    frame.is_repeated = !fresh;
    if (!fresh) {
      problems_.push_back(
          error_at(file_, place,
                   fmt::format("'{}' is given twice, first at line {}", key, first->second.line),
                   "remove one of them"));
    }
    frame.entry = YamlEntry{key, place, {}};
  }
  void open(const YAML::Mark& mark, const std::string& tag, YamlNode::Kind kind) {
    refuse_tag(mark, tag);
    if (expects_key()) refuse(mark, "a key must be plain text", "write 'key: value'");
    if (stack_.size() >= max_yaml_levels) {
      refuse(mark, fmt::format("more than {} levels of nesting", max_yaml_levels), {});
    }
    Frame& frame = stack_.emplace_back();
    frame.node.kind = kind;
    frame.node.place = place_of(mark);
  }
  void close() {
    YamlNode node = std::move(stack_.back().node);
    stack_.pop_back();
    attach(std::move(node));
  }
  void attach(YamlNode node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = stack_.back();
    if (frame.node.kind == YamlNode::Kind::list) {
      frame.node.items.push_back(std::move(node));
      return;
    }
    frame.entry->value = std::move(node);
    if (!frame.is_repeated) frame.node.entries.push_back(std::move(*frame.entry));
    frame.entry.reset();
  }

  std::string_view file_;
  std::vector<Problem>& problems_;
  YamlNode root_;
  std::vector<Frame> stack_;
  int documents_ = 0;
};

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, text) != words.end();
}

/// Does the plain scalar read as a number of the YAML 1.2 core schema? Leading zeros and other
/// bases do not: "007" and "0x1f" are more often names than numbers.
bool is_number(std::string_view text, bool& whole) {
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t from = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    return i - from;
  };
  if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
  const std::size_t first = i;
  const std::size_t before = digits();
  if (before > 1 && text[first] == '0') return false;
  whole = true;
  std::size_t after = 0;
  if (i < text.size() && text[i] == '.') {
    ++i;
    whole = false;
    after = digits();
  }
  if (before + after == 0) return false;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    whole = false;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

/// Gives: nullopt if JSON readers cannot hold the number.
std::optional<std::string> number_as_json(std::string_view text, bool whole) {
  if (text.front() == '+') text.remove_prefix(1);
  const char* const end = text.data() + text.size();
  if (whole) {
    std::int64_t value = 0;
    if (std::from_chars(text.data(), end, value).ec != std::errc{}) return std::nullopt;
    return std::to_string(value);
  }
  double value = 0;
  if (std::from_chars(text.data(), end, value).ec != std::errc{}) return std::nullopt;
  std::string out;
  append_json_double(out, value);
  if (out.find_first_of(".e") == std::string::npos) out += ".0";  // a float stays a float
  return out;
}

class JsonConverter {
 public:
  JsonConverter(std::string_view file, std::string_view path, std::vector<Problem>& problems)
      : file_(file), path_(path), problems_(problems) {}

  void convert(const YamlNode& node) {
    switch (node.kind) {
      case YamlNode::Kind::null:
        json_.raw("null");
        return;
      case YamlNode::Kind::scalar:
        scalar(node);
        return;
      case YamlNode::Kind::list:
        json_.array([&] {
          for (const YamlNode& item : node.items) convert(item);
        });
        return;
      case YamlNode::Kind::map:
        json_.object([&] {
          for (const YamlEntry& entry : node.entries) {
            json_.key(entry.key);
            convert(entry.value);
          }
        });
        return;
    }
  }
  [[nodiscard]] std::optional<std::string> take() {
    if (failed_) return std::nullopt;
    return json_.take();
  }

 private:
  void scalar(const YamlNode& node) {
    const std::string& text = node.text;
    bool whole = false;
    if (node.quoted) {
      json_.value(text);
    } else if (text.empty() || is_one_of(text, {"~", "null", "Null", "NULL"})) {
      json_.raw("null");
    } else if (is_one_of(text, {"true", "True", "TRUE"})) {
      json_.raw("true");
    } else if (is_one_of(text, {"false", "False", "FALSE"})) {
      json_.raw("false");
    } else if (is_number(text, whole)) {
      number(node, whole);
    } else {
      json_.value(text);
    }
  }
  void number(const YamlNode& node, bool whole) {
    if (const auto json = number_as_json(node.text, whole)) {
      json_.raw(*json);
      return;
    }
    Problem problem =
        error_at(file_, node.place, fmt::format("{} does not fit into 64 bits", node.shown()),
                 "quote it to keep it as text");
    problem.path = path_;
    problems_.push_back(std::move(problem));
    failed_ = true;
  }

  std::string_view file_;
  std::string_view path_;
  std::vector<Problem>& problems_;
  JsonWriter json_;
  bool failed_ = false;
};

bool is_variable_name(std::string_view name) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !name.empty() && letter(name.front()) &&
         std::ranges::all_of(name, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

}  // namespace

std::optional<YamlNode> parse_yaml(std::string_view text, std::string_view file_name,
                                   std::vector<Problem>& problems) {
  if (text.size() > max_yaml_bytes) {
    problems.push_back(error_at(
        file_name, {},
        fmt::format("is {} bytes long, at most {} are read", text.size(), max_yaml_bytes)));
    return std::nullopt;
  }
  if (text.find('\0') != std::string_view::npos ||
      !simdjson::validate_utf8(text.data(), text.size())) {
    problems.push_back(error_at(file_name, {}, "is not UTF-8 text", "save it as UTF-8"));
    return std::nullopt;
  }
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder(file_name, problems);
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.take();
  } catch (const Refused& refused) {
    problems.push_back(refused.problem);
  } catch (const YAML::Exception& broken) {
    problems.push_back(error_at(file_name, place_of(broken.mark), "broken YAML: " + broken.msg,
                                "indent with spaces; quote text that holds ': ' or ' #'"));
  }
  return std::nullopt;
}

void expand_macros(
    YamlNode& node, std::string_view file_name,
    const std::function<std::optional<std::string>(std::string_view name)>& environment,
    std::vector<Problem>& problems) {
  for (YamlNode& item : node.items) expand_macros(item, file_name, environment, problems);
  for (YamlEntry& entry : node.entries) {
    expand_macros(entry.value, file_name, environment, problems);
  }
  constexpr std::string_view opening = "${env.";
  if (node.kind != YamlNode::Kind::scalar || node.text.find(opening) == std::string::npos) return;
  node.written = std::move(node.text);
  node.text.clear();
  std::string_view rest = node.written;
  for (std::size_t at = rest.find(opening); at != std::string_view::npos; at = rest.find(opening)) {
    if (at > 0 && rest[at - 1] == '$') {
      node.text += rest.substr(0, at - 1);
      node.text += opening;
      rest.remove_prefix(at + opening.size());
      continue;
    }
    node.text += rest.substr(0, at);
    rest.remove_prefix(at + opening.size());
    const std::size_t close = rest.find('}');
    const std::string_view name = rest.substr(0, close);
    if (close == std::string_view::npos || !is_variable_name(name)) {
      problems.push_back(error_at(file_name, node.place,
                                  fmt::format("'{}' has a broken macro", node.written),
                                  "write ${env.NAME}, or $${env. for the text itself"));
      node.unusable = true;
      return;
    }
    node.has_macro = true;
    if (const std::optional<std::string> value = environment(name)) {
      node.text += *value;
    } else {
      node.unusable = true;
      problems.push_back(error_at(file_name, node.place,
                                  fmt::format("the environment variable {} is not set", name),
                                  fmt::format("export {}=..., or write the value here", name)));
    }
    rest.remove_prefix(close + 1);
  }
  node.text += rest;
}

std::optional<std::string> to_json(const YamlNode& node, std::string_view file_name,
                                   std::string_view path, std::vector<Problem>& problems) {
  JsonConverter converter(file_name, path, problems);
  converter.convert(node);
  return converter.take();
}

}  // namespace stoker::config

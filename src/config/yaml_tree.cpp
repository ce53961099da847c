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

/// Does the quoted scalar that opens at `at` end on the line on which it begins?
bool closes_on_its_line(std::string_view text, std::size_t at) {
  const char quote = text[at];
  for (std::size_t i = at + 1; i < text.size() && text[i] != '\n'; ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || i + 1 >= text.size() || text[i + 1] != '\'') return true;
      ++i;  // '' is one ' in single quotes
    }
  }
  return false;
}

constexpr std::string_view open_quote = "this quote is not closed on its line";
constexpr std::string_view open_quote_hint =
    "close it; text of several lines is written with | and indented";

/// Behind an open quote the library sees something else than the writer did, and names a place far
/// away. This finds where a value or key opens a quote that its line does not close. It is no
/// parser and may be fooled by odd plain text, so it is asked only about a file that is broken.
std::optional<Place> find_open_quote(std::string_view text) {
  std::size_t block_indent = std::string_view::npos;  // of the key above a block scalar
  std::int32_t line_number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    const std::size_t indent = line.find_first_not_of(' ');
    if (indent == std::string_view::npos) continue;
    if (block_indent != std::string_view::npos && indent > block_indent) continue;
    block_indent = std::string_view::npos;
    bool begins = true;  // a value or a key may begin here
    int brackets = 0;
    for (std::size_t i = indent; i < line.size(); ++i) {
      const char c = line[i];
      const bool before_space = i + 1 >= line.size() || line[i + 1] == ' ';
      if (c == ' ') continue;
      if (c == '#' && (i == 0 || line[i - 1] == ' ')) break;
      if (begins && (c == '"' || c == '\'')) {
        if (!closes_on_its_line(line, i)) {
          return Place{line_number, static_cast<std::int32_t>(i) + 1};
        }
        for (++i; line[i] != c || (c == '\'' && i + 1 < line.size() && line[i + 1] == c); ++i) {
          if (line[i] == '\\' && c == '"') ++i;
          if (line[i] == '\'' && c == '\'') ++i;
        }
        begins = false;
      } else if (begins && (c == '|' || c == '>')) {
        block_indent = indent;
        break;
      } else {
        if (c == '[' || c == '{') ++brackets;
        if (c == ']' || c == '}') --brackets;
        begins = c == '[' || c == '{' || (c == ',' && brackets > 0) || (c == ':' && before_space) ||
                 (c == '-' && begins && before_space);
      }
    }
  }
  return std::nullopt;
}

/// Ends parsing at once. Caught in parse_yaml and nowhere else.
struct Refused {
  Problem problem;
};

/// Builds the tree from the library's events. A node under construction is on the stack by value,
/// so that growing vectors move nothing that is pointed to.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, std::string_view file, std::vector<Problem>& problems)
      : text_(text), file_(file), problems_(problems) {}

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
    if (tag == "!" && opens_quote(mark)) {
      refuse(mark, std::string(open_quote), std::string(open_quote_hint));
    }
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
  /// Legal YAML, and nearly always a forgotten quote that has swallowed what follows.
  bool opens_quote(const YAML::Mark& mark) {
    for (; line_ < mark.line; ++line_) {
      line_begin_ = std::min(text_.find('\n', line_begin_), text_.size() - 1) + 1;
    }
    constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";  // the library does not count it
    const bool is_shifted = line_ == 0 && text_.starts_with(byte_order_mark);
    const std::size_t at = line_begin_ + static_cast<std::size_t>(mark.column) +
                           (is_shifted ? byte_order_mark.size() : 0);
    const bool is_quote = at < text_.size() && (text_[at] == '"' || text_[at] == '\'');
    return is_quote && !closes_on_its_line(text_, at);
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

  std::string_view text_;
  std::string_view file_;
  std::vector<Problem>& problems_;
  int line_ = 0;  // marks come in order, so that the text is walked once
  std::size_t line_begin_ = 0;
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
    TreeBuilder builder(text, file_name, problems);
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.take();
  } catch (const Refused& refused) {
    problems.push_back(refused.problem);
  } catch (const YAML::Exception& broken) {
    if (const std::optional<Place> quote = find_open_quote(text)) {
      problems.push_back(
          error_at(file_name, *quote, std::string(open_quote), std::string(open_quote_hint)));
      return std::nullopt;
    }
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

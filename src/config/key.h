// The key table: what the settings of one block are called, what they mean, how they are read and
// written. Parser, schema, reference and example are made from these tables, so that they agree.
// A new setting is one member in config.h and one line in tables.cpp.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/codecs.h"
#include "config/reader.h"
#include "config/yaml_writer.h"

namespace stoker::config {

/// A spelling that users of other systems know.
struct Alias {
  std::string_view name;
  Reading reading = Reading::as_written;
};

/// later: read, checked and kept, but nothing acts on it yet; whoever sets it is told so.
enum class Effect : std::uint8_t { now, later };
enum class Nesting : std::uint8_t { value, block, list_of_blocks, map_of_blocks };

/// What is known about a key whatever it belongs to: for schema and reference.
struct KeyInfo {
  std::string_view name;
  std::string_view doc;  // one sentence without a full stop; Markdown
  std::vector<Alias> aliases;
  Effect effect = Effect::now;
  std::string type;    // for people
  std::string schema;  // of a value: a JSON Schema object
  Nesting nesting = Nesting::value;
  std::vector<KeyInfo> children;
  YamlValue initial;  // the default
};

/// One setting of S.
template <class S>
struct Key {
  KeyInfo info;
  /// Needs: at least one source.
  std::function<void(Reader& reader, const Sources& sources, S& out)> read;
  std::function<YamlValue(const S& from)> print;
};
template <class S>
using Table = std::vector<Key<S>>;

/// Is `entry`, whose key nobody knows, that block under a name nearly like its own?
bool is_misspelt_block(const YamlEntry& entry, const KeyInfo& block);

template <class S>
void read_block(Reader& reader, const Table<S>& table, const Sources& blocks, S& out) {
  std::vector<Sources> given(table.size());
  std::vector<std::pair<const Source*, const YamlEntry*>> unknown;
  for (const auto& [block, entry] : entries_of(reader, blocks, "a block of settings")) {
    bool known = false;
    for (std::size_t i = 0; i < table.size() && !known; ++i) {
      const KeyInfo& info = table[i].info;
      known = info.name == entry->key;
      if (known) given[i].push_back(block->child(*entry, info.name));
      for (const Alias& alias : info.aliases) {
        if (known || alias.name != entry->key) continue;
        known = true;
        given[i].push_back(block->child(*entry, info.name, alias.reading));
      }
    }
    if (!known) unknown.emplace_back(block, entry);
  }
  // What is missing was meant more probably than what is there already.
  std::vector<std::string_view> names;
  for (const bool is_missing : {true, false}) {
    for (std::size_t i = 0; i < table.size(); ++i) {
      if (given[i].empty() != is_missing) continue;
      names.push_back(table[i].info.name);
      for (const Alias& alias : table[i].info.aliases) names.push_back(alias.name);
    }
  }
  for (const auto& [block, entry] : unknown) {
    reader.unknown_key(*block, *entry, names);
    // A block under a misspelt name is read as what was meant, so that what is in it is checked.
    for (std::size_t i = 0; i < table.size(); ++i) {
      const KeyInfo& info = table[i].info;
      if (given[i].empty() && is_misspelt_block(*entry, info)) {
        given[i].push_back(block->child(*entry, info.name));
        break;
      }
    }
  }
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (given[i].empty()) continue;
    for (const Source& source : given[i]) reader.note(source);
    table[i].read(reader, given[i], out);
    if (table[i].info.effect == Effect::now) continue;
    // Written at its default, it has the effect that is asked for.
    if (to_flow(table[i].print(out)) != to_flow(table[i].print(S{}))) {
      reader.warning(given[i].front(), "accepted, has no effect yet in this version");
    }
  }
}

template <class S>
YamlValue print_block(const Table<S>& table, const S& from) {
  YamlValue block{.line = {}, .is_map = true};
  for (const Key<S>& key : table) {
    block.entries.emplace_back(std::string(key.info.name), key.print(from));
  }
  return block;
}

template <class S>
std::vector<KeyInfo> infos_of(const Table<S>& table) {
  std::vector<KeyInfo> infos;
  const S initial;
  for (const Key<S>& key : table) {
    infos.push_back(key.info);
    infos.back().initial = key.print(initial);
  }
  return infos;
}

/// The value of one source; nullopt with a problem if it has none.
template <class Codec>
std::optional<typename Codec::Value> read_one(Reader& reader, const Source& source,
                                              const Codec& codec) {
  const YamlNode& node = *source.node;
  if (node.kind == YamlNode::Kind::null) {
    reader.error(source, "has no value", fmt::format("{}, or leave the key out", codec.type()));
    return std::nullopt;
  }
  if (node.kind != YamlNode::Kind::scalar) {
    reader.error(source, fmt::format("must be a {}, not {}", codec.type(), kind_name(node.kind)));
    return std::nullopt;
  }
  if (node.unusable) return std::nullopt;
  auto value = codec.parse(node.text, source.reading, reader.currency);
  if (value) return std::move(*value);
  if (node.has_macro) {  // the mistake would quote what may be a secret
    reader.error(source, fmt::format("the value of '{}' is not a {}", node.written, codec.type()));
  } else {
    reader.error(source, value.error().message, value.error().hint);
  }
  return std::nullopt;
}

/// The value that all sources agree on; problems name both places if they do not.
template <class Codec>
std::optional<typename Codec::Value> read_value(Reader& reader, const Sources& sources,
                                                const Codec& codec) {
  std::optional<typename Codec::Value> chosen;
  const Source* chosen_from = nullptr;
  const Sources counting = effective(sources);
  for (const Source& source : counting) {
    std::optional<typename Codec::Value> value = read_one(reader, source, codec);
    if (!value) continue;
    if (!chosen) {
      chosen = std::move(value);
      chosen_from = &source;
    } else if (*value != *chosen) {
      reader.error(source,
                   fmt::format("is {} here and {} at line {} ('{}')", codec.print(*value),
                               codec.print(*chosen), chosen_from->place.line, chosen_from->path),
                   "they are one setting; keep one of them");
    }
  }
  return chosen;
}

template <class S, class T, class Codec>
Key<S> value_key(std::string_view name, T S::* member, Codec codec, std::string_view doc,
                 std::vector<Alias> aliases = {}, Effect effect = Effect::now) {
  Key<S> key;
  key.info = {name, doc, std::move(aliases), effect, codec.type(), codec.schema()};
  key.read = [member, codec](Reader& reader, const Sources& sources, S& out) {
    if (auto value = read_value(reader, sources, codec)) out.*member = std::move(*value);
  };
  key.print = [member, codec](const S& from) {
    return YamlValue{yaml_scalar(codec.print(from.*member))};
  };
  return key;
}

/// The same for a member that may be unset, which is written `auto` or null.
template <class S, class T, class Codec>
Key<S> optional_key(std::string_view name, std::optional<T> S::* member, Codec codec,
                    std::string_view doc, std::vector<Alias> aliases = {},
                    Effect effect = Effect::now) {
  Key<S> key;
  key.info = {name, doc, std::move(aliases), effect, codec.type(), codec.schema()};
  key.info.schema = fmt::format(R"({{"anyOf":[{},{{"enum":["auto",null]}}]}})", codec.schema());
  key.read = [member, codec](Reader& reader, const Sources& sources, S& out) {
    Sources set;
    for (const Source& source : effective(sources)) {
      const YamlNode& node = *source.node;
      const bool is_auto = node.kind == YamlNode::Kind::scalar && node.text == "auto";
      if (node.kind != YamlNode::Kind::null && !is_auto) set.push_back(source);
    }
    out.*member = set.empty() ? std::nullopt : read_value(reader, set, codec);
  };
  key.print = [member, codec](const S& from) {
    const std::optional<T>& value = from.*member;
    return YamlValue{value ? yaml_scalar(codec.print(*value)) : std::string(yaml_null)};
  };
  return key;
}

template <class S, class T>
Key<S> block_key(std::string_view name, T S::* member, Table<T> table, std::string_view doc,
                 std::vector<Alias> aliases = {}, Effect effect = Effect::now) {
  Key<S> key;
  key.info = {name, doc, std::move(aliases), effect, "block", {}, Nesting::block, infos_of(table)};
  key.read = [member, table](Reader& reader, const Sources& sources, S& out) {
    read_block(reader, table, sources, out.*member);
  };
  key.print = [member, table](const S& from) { return print_block(table, from.*member); };
  return key;
}

/// The items of a list; a source that is no list is a problem.
std::vector<Source> items_of(Reader& reader, const Sources& sources);

template <class S>
Key<S> list_key(std::string_view name, std::vector<std::string> S::* member, Text item,
                std::string_view doc, std::vector<Alias> aliases = {},
                Effect effect = Effect::now) {
  Key<S> key;
  key.info = {name, doc, std::move(aliases), effect, "list", R"({"type":"array"})"};
  key.read = [member, item](Reader& reader, const Sources& sources, S& out) {
    (out.*member).clear();
    for (const Source& source : items_of(reader, sources)) {
      if (auto text = read_one(reader, source, item)) (out.*member).push_back(std::move(*text));
    }
  };
  key.print = [member](const S& from) {
    std::vector<std::string> lines;
    for (const std::string& text : from.*member) lines.push_back(yaml_scalar(text));
    return YamlValue{yaml_list(lines)};
  };
  return key;
}

template <class S, class T>
Key<S> block_list_key(std::string_view name, std::vector<T> S::* member, Table<T> table,
                      std::string_view doc, Effect effect = Effect::now) {
  Key<S> key;
  key.info = {name,           doc, {}, effect, "list of blocks", {}, Nesting::list_of_blocks,
              infos_of(table)};
  key.read = [member, table](Reader& reader, const Sources& sources, S& out) {
    (out.*member).clear();
    for (const Source& source : items_of(reader, sources)) {
      reader.note(source);
      read_block(reader, table, {source}, (out.*member).emplace_back());
    }
  };
  key.print = [member, table](const S& from) {
    std::vector<std::string> lines;
    for (const T& item : from.*member) lines.push_back(to_flow(print_block(table, item)));
    return YamlValue{yaml_list(lines)};
  };
  return key;
}

using TextMap = std::map<std::string, std::string>;

/// NAME: value pairs; an override adds to the ones of the file. `check` is applied to the names.
template <class S>
Key<S> text_map_key(std::string_view name, TextMap S::* member, Text check, std::string_view doc,
                    Effect effect = Effect::now) {
  Key<S> key;
  key.info = {
      name,
      doc,
      {},
      effect,
      "map of texts",
      R"({"type":["object","null"],"additionalProperties":{"type":["string","number","boolean","null"]}})"};
  key.read = [member, check](Reader& reader, const Sources& sources, S& out) {
    for (const auto& [block, entry] : entries_of(reader, sources, "a block of NAME: value")) {
      const Source source = block->child(*entry, entry->key);
      if (auto wrong = check.check(entry->key)) {
        reader.error(source, wrong->message, wrong->hint);
      } else if (entry->value.kind == YamlNode::Kind::null) {
        (out.*member)[entry->key] = "";
      } else if (auto text = read_one(reader, source, Text{})) {
        (out.*member)[entry->key] = std::move(*text);
      }
    }
  };
  key.print = [member](const S& from) {
    YamlValue map{.line = {}, .is_map = true};
    for (const auto& [variable, text] : from.*member) {
      map.entries.emplace_back(variable, YamlValue{yaml_scalar(text)});
    }
    return map;
  };
  return key;
}

}  // namespace stoker::config

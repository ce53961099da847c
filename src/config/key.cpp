#include "config/key.h"

#include <algorithm>
#include <array>

namespace stoker::config {

bool is_misspelt_block(const YamlEntry& entry, const KeyInfo& block) {
  if (entry.value.kind != YamlNode::Kind::map || entry.value.entries.empty()) return false;
  if (!closest(entry.key, std::array{block.name})) return false;
  if (block.nesting == Nesting::block) return true;
  return block.nesting == Nesting::map_of_blocks &&
         std::ranges::all_of(entry.value.entries, [](const YamlEntry& each) {
           return each.value.kind == YamlNode::Kind::map;
         });
}

std::vector<Source> items_of(Reader& reader, const Sources& sources) {
  std::vector<Source> items;
  const Sources counting = effective(sources);
  for (std::size_t i = 1; i < counting.size(); ++i) {
    reader.error(counting[i],
                 fmt::format("is given at line {} too ('{}')", counting.front().place.line,
                             counting.front().path),
                 "they are one setting; keep one of them");
  }
  const Source& list = counting.front();
  if (list.node->kind == YamlNode::Kind::null) return items;
  if (list.node->kind != YamlNode::Kind::list) {
    reader.error(list, fmt::format("must be a list, not {}", kind_name(list.node->kind)),
                 "write [a, b]");
    return items;
  }
  for (std::size_t i = 0; i < list.node->items.size(); ++i) {
    Source item = list;
    item.node = &list.node->items[i];
    item.place = item.node->place;
    item.path += fmt::format("[{}]", i);
    item.canonical += fmt::format("[{}]", i);
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace stoker::config

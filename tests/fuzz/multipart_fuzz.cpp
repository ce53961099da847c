// The reader of forms: whatever it accepts, put together again from its parts, is accepted too and
// says the same.
#include <string>

#include "net/multipart.h"
#include "pieces.h"

namespace {

std::string form_of(const std::vector<stoker::net::FormPart>& parts) {
  std::string form;
  for (const stoker::net::FormPart& part : parts) {
    form.append("--b\r\nContent-Disposition: form-data; name=\"").append(part.name).append("\"");
    if (!part.file_name.empty()) form.append("; filename=\"").append(part.file_name).append("\"");
    form.append("\r\n\r\n").append(part.content).append("\r\n");
  }
  return form + "--b--";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stoker;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static_cast<void>(net::form_boundary(bytes));
  const auto parts = net::parse_form(bytes, "b");
  if (!parts) return 0;
  for (const net::FormPart& part : *parts) {
    fuzz::require(part.content.data() >= bytes.data() &&
                      part.content.data() + part.content.size() <= bytes.data() + bytes.size(),
                  "a view into the body");
    fuzz::require(part.content.find("\r\n--b") == part.content.npos, "no delimiter in a content");
    // A name without quotes may hold what a quoted one may not.
    if (part.name.find('"') != part.name.npos || part.name.ends_with('\\')) return 0;
    if (part.file_name.find('"') != part.file_name.npos || part.file_name.ends_with('\\')) return 0;
  }
  const std::string again = form_of(*parts);
  const auto same = net::parse_form(again, "b");
  fuzz::require(same && same->size() == parts->size(), "put together again");
  for (std::size_t i = 0; i < parts->size(); ++i) {
    fuzz::require((*same)[i].name == (*parts)[i].name, "same name");
    fuzz::require((*same)[i].content == (*parts)[i].content, "same content");
  }
  return 0;
}

// Reads the PTX that nvcc writes. What it does not know ends the test with the line.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "program.h"

namespace ptx {

using Words = std::vector<std::string>;  // an opcode, split at its dots

inline Type type_named(const std::string& name) {
  static const std::map<std::string, Type> types = {
      {"u8", kU8},   {"s8", kS8},     {"b8", kU8},   {"u16", kU16}, {"s16", kS16},       {"b16", kU16},
      {"u32", kU32}, {"s32", kS32},   {"b32", kU32}, {"u64", kU64}, {"s64", kS64},       {"b64", kU64},
      {"f16", kF16}, {"bf16", kBf16}, {"f32", kF32}, {"f64", kF64}, {"pred", kPredicate}};
  const auto found = types.find(name);
  return found == types.end() ? kNoType : found->second;
}

// Of an opcode the first type, and what it is converted from.
inline void name_types(Instruction& i, const Words& words) {
  for (size_t j = 1; j < words.size(); ++j) {
    const Type t = type_named(words[j]);
    if (t == kNoType) continue;
    (i.type == kNoType ? i.type : i.from) = t;
  }
}

// Whether an opcode has a modifier.
inline bool has(const Words& words, const char* word) {
  return std::find(words.begin() + 1, words.end(), word) != words.end();
}

inline std::string trimmed(const std::string& s) {
  const size_t first = s.find_first_not_of(" \t\n"), last = s.find_last_not_of(" \t\n");
  return first == std::string::npos ? "" : s.substr(first, last - first + 1);
}

// At commas, or another sign, outside of brackets.
inline Words split(const std::string& s, char at = ',') {
  Words out;
  std::string part;
  int depth = 0;
  for (const char c : s) {
    depth += (c == '{' || c == '[' || c == '(') - (c == '}' || c == ']' || c == ')');
    if (c == at && depth == 0) {
      out.push_back(trimmed(part));
      part.clear();
    } else {
      part += c == '\n' || c == '\t' ? ' ' : c;
    }
  }
  if (!trimmed(part).empty()) out.push_back(trimmed(part));
  return out;
}

class Text {  // a cursor
 public:
  explicit Text(const std::string& text) {  // without comments
    for (size_t j = 0; j < text.size(); ++j) {
      if (text.compare(j, 2, "//") == 0) j = text.find('\n', j);
      text_ += text[j];
    }
  }
  void rewind() { at_ = 0; }
  bool ended() {
    while (at_ < text_.size() && isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    return at_ >= text_.size();
  }
  char now() { return ended() ? '\0' : text_[at_]; }
  void next() { ++at_; }
  // Up to one of some signs, which is passed.
  std::string until(const char* signs) {
    const size_t begin = at_;
    at_ = text_.find_first_of(signs, at_);
    if (at_ == std::string::npos) throw std::runtime_error("the PTX ends too early");
    return trimmed(text_.substr(begin, at_++ - begin));
  }
  char passed() const { return text_[at_ - 1]; }
  std::string word() {  // letters, digits, and what names have
    size_t end = at_;
    while (isalnum(static_cast<unsigned char>(text_[end])) || text_[end] == '_' || text_[end] == '$') ++end;
    return text_.substr(at_, end - at_);
  }
  bool at_label() {
    const size_t end = at_ + word().size();
    return end > at_ && text_[end] == ':' && text_[end + 1] != ':';
  }
  void skip_block() {  // whose { was passed
    for (int depth = 1; depth;) {
      until("{}");
      depth += passed() == '{' ? 1 : -1;
    }
  }

 private:
  std::string text_;
  size_t at_ = 0;
};

struct Declared {  // `.align 8 .b8 name[40]`
  std::string name;
  int size = 0, align = 0;
};

inline Declared declared(const std::string& s) {
  Declared out;
  std::istringstream words(s);
  for (std::string word; words >> word;) {
    if (word == ".align") {
      words >> out.align;
    } else if (word[0] == '.') {
      const Type t = type_named(word.substr(1));
      if (t != kNoType) out.size = size_of(t);
    } else {
      const size_t bracket = word.find('[');
      out.name = word.substr(0, bracket);
      if (bracket != std::string::npos) out.size *= std::atoi(word.c_str() + bracket + 1);
    }
  }
  if (!out.align) out.align = out.size;
  return out;
}

inline std::vector<Declared> all_declared(const std::string& list) {
  std::vector<Declared> out;
  for (const std::string& each : split(list)) out.push_back(declared(each));
  return out;
}

}  // namespace ptx

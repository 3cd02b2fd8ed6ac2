// Statements of a function's body, as the loader meets them.
#include "decode.h"
#include "loader.h"

namespace ptx {

inline void run_active(Registers r, const Instruction& i, uint32_t mask) {
  for_lanes(mask, [&](int k) { put(r, i.to[0], k, mask); });
}

void Loader::emit(Instruction& i) {
  i.file = file_;
  i.line = line_;
  program_.code.push_back(i);
}

void Loader::location() {  // .loc 2 139 3, function_name ...
  int file = 0, line = 0;
  std::sscanf(text_.until("\n").c_str(), "loc %d %d", &file, &line);
  file_ = files_.count(file) ? files_[file] : -1;  // they are named at the text's end, after device functions
  line_ = line;
}

void Loader::declare() {
  text_.next();
  const std::string kind = text_.word();
  if (kind == "loc") return location();
  std::string rest = text_.until(";").substr(kind.size());
  if (kind == "pragma") return;
  if (kind == "reg") {
    rest = rest.substr(rest.find_first_of(" \t", rest.find('.')));  // without the type
    for (const std::string& each : split(rest)) {
      const size_t angle = each.find('<');
      const int count = angle == std::string::npos ? 1 : std::atoi(each.c_str() + angle + 1);
      (angle == std::string::npos ? scopes_.back() : ranges_)[each.substr(0, angle)] = function_->registers;
      function_->registers += count;
    }
    return;
  }
  const Declared d = declared(rest);
  if (kind == "param" && d.size <= 8) {
    scopes_.back()[d.name] = function_->registers++;
  } else if (kind == "shared") {
    shared_[d.name] = function_->fixed_shared = aligned(function_->fixed_shared, d.align);
    function_->fixed_shared += d.size;
  } else {
    throw std::runtime_error("." + kind + " " + d.name + " is not interpreted: kernels keep nothing in local memory");
  }
}

int Loader::named(const std::string& name) {
  for (size_t j = scopes_.size(); j-- > 0;) {
    const auto found = scopes_[j].find(name);
    if (found != scopes_[j].end()) return found->second;
  }
  const size_t digits = name.find_last_not_of("0123456789") + 1;
  const auto range = ranges_.find(name.substr(0, digits));
  return range == ranges_.end() || digits == name.size() ? -1 : range->second + std::atoi(name.c_str() + digits);
}

int Loader::reg(const std::string& name) {
  const int found = named(name);
  if (found < 0) throw std::runtime_error("no register " + name);
  return found;
}

int Loader::preset(Special special, uint64_t value) {
  const auto [place, fresh] =
      presets_.try_emplace(std::to_string(special) + "," + std::to_string(value), function_->registers);
  if (fresh) function_->presets.push_back({special, value, function_->registers++});
  return place->second;
}

int Loader::operand(const std::string& s) {
  static const std::map<std::string, Special> specials = {{"%tid.x", kThread},         {"%ntid.x", kThreads},
                                                          {"%ctaid.x", kBlock},        {"%nctaid.x", kBlocks},
                                                          {"%laneid", kLane},          {"%lanemask_lt", kLanesBelow},
                                                          {"%cluster_ctarank", kRank}, {"%cluster_nctarank", kRanks},
                                                          {"%cluster_ctaid.x", kRank}, {"%cluster_nctaid.x", kRanks},
                                                          {"%clusterid.x", kCluster},  {"%nclusterid.x", kClusters}};
  const auto special = specials.find(s);
  if (special != specials.end()) return preset(special->second, 0);
  if (s.size() > 2 && s[0] == '%' && (s.substr(s.size() - 2) == ".y" || s.substr(s.size() - 2) == ".z"))
    return preset(kNumber, s.compare(0, 2, "%n") == 0 || s.compare(0, 10, "%cluster_n") == 0);
  const bool bits = s[0] == '0' && (s[1] == 'd' || s[1] == 'D' || s[1] == 'f' || s[1] == 'F');
  if (bits) return preset(kNumber, std::strtoull(s.c_str() + 2, nullptr, 16));
  if (isdigit(static_cast<unsigned char>(s[0]))) return preset(kNumber, std::strtoull(s.c_str(), nullptr, 0));
  if (s[0] == '-') return preset(kNumber, uint64_t(std::strtoll(s.c_str(), nullptr, 0)));
  const int found = named(s);
  if (found >= 0) return found;
  if (parameters_.count(s)) return preset(kNumber, uint64_t(parameters_[s]));
  if (program_.variables.count(s))
    return preset(kNumber, reinterpret_cast<uint64_t>(program_.variables[s]->bytes.data()));
  if (!shared_.count(s)) throw std::runtime_error("no operand " + s);
  // The array of unknown size comes after the others, which a body declares first.
  return preset(kSharedAddress, uint64_t(shared_[s] >= 0 ? shared_[s] : aligned(function_->fixed_shared, 16)));
}

void Loader::address(Instruction& i, std::string s) {
  s = trimmed(s.substr(1, s.size() - 2));
  const size_t plus = s.find('+');
  if (plus != std::string::npos) i.offset = std::strtoll(s.c_str() + plus + 1, nullptr, 0);
  i.base = operand(trimmed(s.substr(0, plus)));
}

void Loader::outputs(Instruction& i, const std::string& s) {
  const std::string list = s[0] == '{' ? s.substr(1, s.size() - 2) : s;
  for (const std::string& each : split(list, list.find('|') == std::string::npos ? ',' : '|'))
    i.to[i.outputs++] = each == "_" ? -1 : reg(each);
}

void Loader::inputs(Instruction& i, const Words& operands, size_t from) {
  for (size_t j = from; j < operands.size(); ++j) {
    const std::string& s = operands[j];
    if (s[0] == '!') throw std::runtime_error("a negated operand is not interpreted");
    for (const std::string& each : split(s[0] == '{' ? s.substr(1, s.size() - 2) : s)) i.of[i.inputs++] = operand(each);
  }
}

void Loader::instruction(const std::string& statement) {
  Instruction i;
  i.text = split(statement, '\0')[0];
  std::string rest = i.text;
  if (rest[0] == '@') {
    const size_t end = rest.find(' ');
    i.negated = rest[1] == '!';
    i.guard = reg(rest.substr(1 + i.negated, end - 1 - i.negated));
    rest = trimmed(rest.substr(end));
  }
  const size_t end = rest.find_first_of(" (");
  const Words words = split(rest.substr(0, end), '.');
  const Words operands = split(end == std::string::npos ? "" : rest.substr(end));
  const std::string& name = words[0];
  i.cost = kJump;
  if (name == "bra") {
    i.kind = kBranch;
    jumps_.push_back({int(program_.code.size()), operands.at(0)});
    return emit(i);
  }
  if (name == "ret" || name == "exit") {
    i.kind = kReturn;
    i.base = name == "ret" ? function_->back : -1;
    return emit(i);
  }
  if (name == "call") return call(operands, i);
  if (name == "griddepcontrol" || name == "prefetch" || name == "nanosleep" || name == "nop") {
    i.kind = kNothing;
    return emit(i);
  }
  Decoder decoder(i, words);
  if (name == "activemask") {
    i.run = run_active;
    outputs(i, operands.at(0));
    return emit(i);
  }
  if (name == "mov" && operands.at(0)[0] == '{') {
    i.run = run_unpack;
  } else if (name == "mov" && operands.at(1)[0] == '{') {
    i.run = run_pack;
  } else if (name == "cvta") {
    const bool leaves = decoder.has("to"), shared = decoder.has("shared") || decoder.has("shared::cta");
    i.run = shared ? (leaves ? run2<Xor, uint64_t> : run2<Or, uint64_t>) : run1<Copy, uint64_t>;
    i.cost = kMove;
    if (shared) i.of[1] = preset(kNumber, kSharedWindow);
  } else if (meeting(i, words, operands) || memory(i, words, operands)) {
    return emit(i);
  } else if (!decoder.plain()) {
    throw std::runtime_error("this opcode is not interpreted");
  }
  if (i.run == run_pack || i.run == run_unpack) i.cost = kMove;
  outputs(i, operands.at(0));
  inputs(i, operands, 1);
  emit(i);
}

// call.uni (result), function, (a, b)
void Loader::call(const Words& operands, const Instruction& guarded) {
  const bool returns = operands.at(0)[0] == '(';
  const Function& callee = functions_.at(operands.at(returns));
  const auto inside = [](const std::string& s) { return split(s.substr(1, s.size() - 2)); };
  const auto move = [&](int to, int from) {
    Instruction i = guarded;
    i.kind = kPlain;
    i.cost = kMove;
    i.run = run1<Copy, uint64_t>;
    i.to[i.outputs++] = to;
    i.of[i.inputs++] = from;
    emit(i);
  };
  const Words arguments = operands.size() > 1u + returns ? inside(operands[1 + returns]) : Words();
  for (size_t j = 0; j < arguments.size(); ++j) move(callee.arguments.at(j), reg(arguments[j]));
  Instruction jump = guarded;
  jump.kind = kCall;
  jump.target = callee.begin;
  jump.base = callee.back;
  emit(jump);
  if (returns) move(reg(inside(operands[0])[0]), callee.result);
}

bool Loader::memory(Instruction& i, const Words& words, const Words& operands) {
  const std::string& name = words[0];
  const auto has = [&](const char* word) { return ptx::has(words, word); };
  if (name == "fence" || name == "membar") {
    if (has("proxy")) throw std::runtime_error("fences between proxies are not interpreted");
    i.kind = kFence;
    i.cost = kSync;
    return true;
  }
  if (name != "ld" && name != "st" && name != "atom" && name != "red" && name != "ldu") return false;
  i.space = has("param")                                                    ? kParameter
            : has("const")                                                  ? kConstant
            : has("global")                                                 ? kGlobal
            : has("shared") || has("shared::cta") || has("shared::cluster") ? kShared
                                                                            : kGeneric;
  i.vector = has("v4") ? 4 : has("v2") ? 2 : 1;
  i.acquires = has("acquire") || has("acq_rel");
  i.releases = has("release") || has("acq_rel");
  i.strong = i.acquires || i.releases || has("relaxed") || has("volatile") || name == "atom" || name == "red";
  if (has("local")) throw std::runtime_error("kernels keep nothing in local memory");
  const bool store = name == "st", atomic = name == "atom" || name == "red";
  const std::string& place = operands.at(store || name == "red" ? 0 : 1);
  if (i.space == kParameter && named(trimmed(split(place.substr(1, place.size() - 2), '+')[0])) >= 0) {
    const int reg = named(trimmed(split(place.substr(1, place.size() - 2), '+')[0]));  // of a device function
    i.run = run1<Copy, uint64_t>;
    i.cost = kMove;
    i.to[i.outputs++] = store ? reg : this->reg(operands.at(0));
    i.of[i.inputs++] = store ? operand(operands.at(1)) : reg;
    return true;
  }
  i.kind = atomic ? kAtomic : store ? kStore : kLoad;
  if (!store && name != "red") outputs(i, operands[0]);
  address(i, place);
  if (store || atomic) inputs(i, operands, name == "atom" ? 2 : 1);
  i.cost = i.space == kParameter || i.space == kConstant ? kLoadParameter
           : atomic                                      ? kAtom
           : i.space == kShared                          ? (store ? kStoreShared : kLoadShared)
                                                         : (store ? kStoreGlobal : kLoadGlobal);
  if (!atomic) return true;
  if (i.type == kF16 || i.type == kBf16 || i.vector > 1) throw std::runtime_error("this atomic is not interpreted");
  static const std::map<std::string, AtomicOperation> operations = {
      {"add", kSum},     {"exch", kExchanged}, {"cas", kSwapped}, {"min", kLowest},
      {"max", kHighest}, {"and", kBitsAnd},    {"or", kBitsOr},   {"xor", kBitsXor}};
  for (const std::string& word : words)
    if (operations.count(word)) return i.mode = operations.at(word), true;
  throw std::runtime_error("this atomic is not interpreted");
}

}  // namespace ptx

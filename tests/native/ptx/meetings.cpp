// Statements at which lanes, warps or blocks meet.
#include "loader.h"

namespace ptx {

bool Loader::meeting(Instruction& i, const Words& words, const Words& operands) {
  const std::string& name = words[0];
  const auto has = [&](const char* word) { return ptx::has(words, word); };
  const bool barrier = name == "bar" || name == "barrier";
  if (barrier && has("cluster")) {
    i.kind = has("arrive") ? kClusterArrive : kClusterWait;
    i.cost = kSync;
    i.releases = !has("relaxed");
    return true;
  }
  if (barrier && has("warp")) {
    i.kind = kWarpBarrier;
    i.cost = kWarpSync;
    i.base = operand(operands.at(0));
    return true;
  }
  if (barrier) {  // id, threads (or none), and what a reduction takes
    i.kind = kBarrier;
    i.cost = kSync;
    i.second = has("arrive");
    i.mode = !has("red") ? kNoReduction : has("or") ? kAnyOf : has("and") ? kAllOf : kHowMany;
    if (i.mode) outputs(i, operands.at(0));
    const size_t first = i.mode ? 1 : 0, last = operands.size() - first;
    i.base = operand(operands.at(first));
    if (last == (i.mode ? 3 : 2)) i.target = operand(operands[first + 1]);
    if (i.mode) inputs(i, operands, operands.size() - 1);
    return true;
  }
  static const std::map<std::string, Kind> kinds = {
      {"shfl", kShuffle}, {"match", kMatch}, {"vote", kVote}, {"redux", kReduce}};
  const auto kind = kinds.find(name);
  if (kind == kinds.end()) return false;
  i.kind = kind->second;
  i.cost = i.kind == kMatch ? kMatching : kExchange;
  name_types(i, words);
  outputs(i, operands.at(0));
  inputs(i, Words(operands.begin(), operands.end() - 1), 1);
  i.base = operand(operands.back());  // the mask
  if (i.kind == kShuffle)
    i.mode = has("bfly") ? kButterfly : has("idx") ? kIndexed : has("up") ? kFromBelow : kFromAbove;
  if (i.kind == kVote) i.mode = has("ballot") ? kBallot : has("any") ? kAnyOf : has("all") ? kAllOf : 255;
  if (i.kind == kMatch && !has("any")) throw std::runtime_error("match.all is not interpreted");
  if (i.kind == kReduce)
    i.mode = has("add")   ? kSum
             : has("min") ? kLowest
             : has("max") ? kHighest
             : has("and") ? kBitsAnd
             : has("or")  ? kBitsOr
                          : kBitsXor;
  if (i.mode == 255) throw std::runtime_error("this vote is not interpreted");
  return true;
}

Program program_of(const std::vector<std::string>& texts) {
  Program program;
  for (const std::string& text : texts) Loader(program, text);
  return program;
}

}  // namespace ptx

// Turns PTX texts into a program: device functions first, so that the calls of kernels find them.
#pragma once

#include "parser.h"

namespace ptx {

class Loader {
 public:
  Loader(Program& program, const std::string& text) : program_(program), text_(text) {
    read(false);
    text_.rewind();
    read(true);
  }

 private:
  struct Jump {
    int from;
    std::string label;
  };

  Program& program_;
  Text text_;
  std::map<std::string, Function> functions_;
  std::map<int, int> files_;  // this text's numbers to the program's
  int below_ = 0;             // registers of the device functions so far
  // Of the function that is read:
  Function* function_ = nullptr;
  bool kernel_ = false;
  std::vector<std::map<std::string, int>> scopes_;
  std::map<std::string, int> ranges_, labels_, parameters_;
  std::map<std::string, int64_t> shared_;
  std::map<std::string, int> presets_;
  std::vector<Jump> jumps_;
  int file_ = 0, line_ = 0;

  void read(bool kernels) {
    while (!text_.ended()) {
      if (text_.now() == '.' && directive()) continue;
      const std::string head = "." + text_.until("{;(");
      const bool entry = head.find(".entry") != std::string::npos;
      if (!entry && head.find(".func") == std::string::npos) {
        variable(head);
        continue;
      }
      std::string result, name = head.substr(head.rfind(' ') + 1), parameters;
      if (text_.passed() == '(' && !entry) {
        result = text_.until(")");
        name = text_.until("(;{");
      }
      if (text_.passed() == '(') parameters = text_.until(")");
      text_.until("{;");
      if (text_.passed() == ';') continue;  // declared, not defined
      if (entry != kernels) {
        text_.skip_block();
      } else {
        define(name, entry, all_declared(result), all_declared(parameters));
      }
    }
  }

  bool directive() {
    text_.next();
    const std::string name = text_.word();
    if (name == "version" || name == "target" || name == "address_size") return text_.until("\n"), true;
    if (name == "file") {
      const std::string rest = text_.until("\n");
      if (!files_.try_emplace(std::atoi(rest.c_str() + 4), int(program_.files.size())).second) return true;
      const size_t quote = rest.find('"');
      program_.files.push_back(rest.substr(quote + 1, rest.rfind('"') - quote - 1));
      return true;
    }
    if (name == "section") return text_.until("{"), text_.skip_block(), true;
    return false;
  }

  // `.visible .const .align 8 .b8 name[8];`, or `.extern .shared ...`, or one with values.
  void variable(const std::string& head) {
    if (text_.passed() == '{') text_.skip_block(), text_.until(";");
    const bool filled = head.find('=') != std::string::npos;
    const Declared d = declared(head.substr(0, head.find('=')));
    if (head.find(".shared") != std::string::npos) {
      shared_[d.name] = -1;
    } else if (filled) {
      throw std::runtime_error("a module's variable with values is not interpreted: " + d.name);
    } else if (!program_.variables[d.name]) {
      program_.variables[d.name] = std::make_unique<Variable>(Variable{std::vector<unsigned char>(d.size)});
    }
  }

  void define(const std::string& name, bool entry, const std::vector<Declared>& result,
              const std::vector<Declared>& parameters) {
    Function f;
    function_ = &f;
    kernel_ = entry;
    f.begin = int(program_.code.size());
    f.registers = below_;
    scopes_.assign(1, {});
    for (auto* names : {&ranges_, &labels_, &parameters_, &presets_}) names->clear();
    jumps_.clear();
    int offset = 0;
    for (const Declared& d : parameters) {
      if (entry) {
        offset = int(aligned(offset, d.align));
        parameters_[d.name] = offset;
        f.parameters.push_back({d.size, offset});
        offset += d.size;
      } else {
        f.arguments.push_back(scopes_[0][d.name] = f.registers++);
      }
    }
    for (const Declared& d : result) scopes_[0][d.name] = f.result = f.registers++;
    if (!entry) f.back = f.registers++;
    body();
    for (const Jump& jump : jumps_) program_.code[jump.from].target = labels_.at(jump.label);
    if (entry) {
      for (const auto& [_, callee] : functions_)  // its immediates lie in registers of their own
        f.presets.insert(f.presets.end(), callee.presets.begin(), callee.presets.end());
      program_.kernels[name] = f;
    } else {
      below_ = f.registers;
      functions_[name] = f;
    }
  }

  void body() {
    while (!scopes_.empty()) {
      const char c = text_.now();
      if (c == '{') {
        text_.next();
        scopes_.emplace_back();
      } else if (c == '}') {
        text_.next();
        scopes_.pop_back();
      } else if (c == '.') {
        declare();
      } else if (text_.at_label()) {
        labels_[text_.until(":")] = int(program_.code.size());
      } else {
        const std::string statement = text_.until(";");
        try {
          instruction(statement);
        } catch (const std::exception& e) {
          throw std::runtime_error(statement + ": " + e.what());
        }
      }
    }
  }

  void declare();
  void location();
  int named(const std::string& name);
  int reg(const std::string& name);
  int preset(Special special, uint64_t value);
  int operand(const std::string& s);
  void address(Instruction& i, std::string s);
  void outputs(Instruction& i, const std::string& s);
  void inputs(Instruction& i, const Words& operands, size_t from);
  void instruction(const std::string& statement);
  void call(const Words& operands, const Instruction& guard);
  bool memory(Instruction& i, const Words& words, const Words& operands);
  bool meeting(Instruction& i, const Words& words, const Words& operands);
  void emit(Instruction& i);
};

}  // namespace ptx
